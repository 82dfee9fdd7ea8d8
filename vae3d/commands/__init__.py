"""What the command line can do: wiring only, one file a command."""
