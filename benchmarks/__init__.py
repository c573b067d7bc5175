"""Side-by-side timings: see README.md beside this file."""
