"""What happens beside training: pictures, exports, records."""
