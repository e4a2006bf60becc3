"""Real parts of a lab that Debian does not carry: compiled of their own modules, or brought."""
