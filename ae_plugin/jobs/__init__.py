"""The story: URIs in, a JSON summary out."""
