"""DuckDB: connections that can do only what they were opened for, and the local files that they read."""
