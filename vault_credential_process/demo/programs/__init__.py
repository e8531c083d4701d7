"""The programs that the demo runs, each in a process of its own."""
