"""What the likelihoods of a reply say of its prompt."""

from backtranslation.files import Row


def likelihood_gain(row: Row, part: str = "mean") -> float:
    """Nats per token that the prompt adds to the reply, over all of its tokens or a part that `condense` names."""
    return float(row["given"][part] - row["alone"][part])
