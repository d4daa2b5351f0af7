"""Training and scoring of pictures: the same story as for tables."""
