"""How well predictions agree with annotations, without leaving out what failed."""
