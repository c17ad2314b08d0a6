"""Loss heads: each predicts something from features and scores its prediction."""
