"""Stand-ins for what a virtual lab cannot have: NVIDIA's silicon and software, and kata.

Each package says in its header what it stands for, what is real in it and what is not, and
offers ``install(build)``, which puts it into the lab's trees while the image is made.
"""
