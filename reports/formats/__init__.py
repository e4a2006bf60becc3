"""The documents for programs and for the terminal."""
