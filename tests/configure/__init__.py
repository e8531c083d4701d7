"""``configure``: the profile that it writes works, and nothing is written unasked or lost."""
