"""Pure functions over arrays: no files, no network, no database."""
