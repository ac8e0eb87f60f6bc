"""The database: SQLite in WAL mode on one machine, PostgreSQL beyond it."""
