"""The application's own PostgreSQL: events stored in its transactions, and delivered after the commit."""
