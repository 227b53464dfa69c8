"""Loop: the end of a clip turns into its start, by motion, by fading, or by turning back."""
