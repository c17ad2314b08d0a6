"""What the data are: scans, studies, manifests, splits."""
