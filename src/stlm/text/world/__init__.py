"""The built-in corpus: a grammar that writes small English stories. The information of each story is known exactly."""

from stlm.text.world.chance import WorldParseError
from stlm.text.world.story import VERSION, Story, parse_story, write_story

__all__ = ["VERSION", "Story", "WorldParseError", "parse_story", "write_story"]
