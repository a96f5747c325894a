"""What both programs share: command line, terminal, signals, the connection to Ray."""
