"""The built-in corpus: a procedural world that writes small English stories whose information is known exactly."""

from stlm.text.world.chance import WorldParseError
from stlm.text.world.story import VERSION, Story, parse_story, write_story

__all__ = ["VERSION", "Story", "WorldParseError", "parse_story", "write_story"]
