"""What every service needs besides: logs, ports, files, SQLite, HTTP, threads, queues, the system's clock."""
