"""Skills."""


class Skill:
    """A skill."""
