"""`wake.yaml`: one file for connectors, triggers, agents and policies."""

from wakestream.config.following import Following
from wakestream.config.loading import Loaded, load, reveal
from wakestream.config.models import Config

__all__ = ["Config", "Following", "Loaded", "load", "reveal"]
