"""Real parts of a lab that Debian does not carry: their own modules, compiled for the image."""
