"""A job that asks an engine for many sampled replies of the miniature's base, to be killed.

    python tests/helpers/server_job.py GENERATION JOURNAL

GENERATION is the section of a configuration, as JSON.
"""

import json
import random
import sys
from pathlib import Path

from backtranslation.jobs.process import start_job

ROOT = Path(__file__).parent.parent.parent
BASE = ROOT / "backtranslation" / "miniature" / "base"
REQUESTS = 60
WORDS = "the old lamp kettle garden bicycle needs water oil light why do you clean repair keep"


def main(generation: str, journal: str) -> None:
    """Complete the journal."""
    start_job("server_job")

    from backtranslation.models.engine import Request, generate_all, load_engine
    from backtranslation.models.prompts import PromptSet
    from backtranslation.settings.base_model import ModelLoading
    from backtranslation.settings.generation import Generation, Sampling
    from backtranslation.settings.limits import Limits
    from backtranslation.settings.prompts import Prompts

    engine, _ = load_engine(Generation(**json.loads(generation)), str(BASE), ModelLoading(), PromptSet(Prompts()))
    generator = random.Random(0)
    requests = [
        Request(str(number), " ".join(generator.choices(WORDS.split(), k=generator.randint(5, 60))), number)
        for number in range(REQUESTS)
    ]
    generate_all(engine, requests, Sampling(temperature=0.7, max_new_tokens=60), Path(journal), Limits())


if __name__ == "__main__":
    main(*sys.argv[1:])
