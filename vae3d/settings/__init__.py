"""The settings of commands: their keys and sentences, the help, and reading them from files."""
