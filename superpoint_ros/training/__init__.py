"""Training of SuperPoint: data preparation, homographic adaptation, losses and the training loop."""
