"""Labels that arrive after the predictions: taken in, stored, and joined to them."""
