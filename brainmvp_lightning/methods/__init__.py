"""Self-supervised learning methods: a batch becomes named losses."""
