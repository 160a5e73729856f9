"""Question + rules -> Decision. Pure; an empty policy denies."""
