"""Every table; importing this package fills `Base.metadata`."""
