"""Which agents and models a trigger can lead to: its own, and those that are handed over to."""

from __future__ import annotations

from wakestream.config.actions import RunAction
from wakestream.config.models import Config


def reachable(config: Config, agent: str) -> list[str]:
    """The agent, and those that its actions of kind `run` lead to, each once, nearest first."""
    found = [agent]
    for name in found:
        actions = (config.actions[action] for action in config.agents[name].actions)
        found += {a.agent: None for a in actions if isinstance(a, RunAction) and a.agent not in found}
    return found


def models_used(config: Config) -> list[str]:
    """The models that the agents of all triggers may ask, by name."""
    agents = {name for trigger in config.triggers.values() for name in reachable(config, trigger.agent)}
    asked = {config.agents[name].model for name in agents}
    return sorted(asked | {model for name in asked for model in behind(config, name)})


def behind(config: Config, model: str) -> list[str]:
    """The models that are asked when one fails, in turn; where they go round in a circle, it is one of them."""
    found: list[str] = []
    following = config.models[model].fallback if model in config.models else None
    while following is not None and following not in found:
        found.append(following)
        following = config.models[following].fallback if following in config.models else None
    return found
