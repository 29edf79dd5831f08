"""Tools that every service needs: logs, ports, files, SQLite, HTTP, threads, queues, the system's clock."""
