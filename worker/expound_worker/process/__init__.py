"""What concerns a process as such: its name, memory, threads and secrets, and how it ends."""
