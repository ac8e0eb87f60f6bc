"""Training: from a data set version and a plan to a bundle."""
