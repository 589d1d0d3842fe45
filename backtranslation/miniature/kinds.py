"""The kinds of passages of the miniature world: how each is worded and how it is asked for.

Each kind is a list of slots, each slot a list of sentences of which a passage takes one. `{subject}` and the
attributes of `subjects` are filled in; `{other}` and `{other_...}` belong to the second subject of a comparison.
This module knows nothing of pages, defects or models.
"""

from dataclasses import dataclass
from typing import Literal

Layout = Literal["paragraph", "steps", "bullets"]


@dataclass(frozen=True)
class Kind:
    """One kind of passage.

    `noun` names it ("a warning"); `tags` label it; `requests` ask for it, the first `SEED_REQUESTS` of them as the
    seed pairs do; `lead` opens it and `body` holds the slots that `layout` sets out.
    """

    name: str
    noun: str
    tags: tuple[str, ...]
    layout: Layout
    requests: tuple[str, ...]
    lead: tuple[str, ...]
    body: tuple[tuple[str, ...], ...]


SEED_REQUESTS = 3
"""How many of a kind's requests the seed pairs use; the held-out pairs use all."""

KINDS = (
    Kind(
        "instructions", "a set of instructions", ("how to", "steps"), "steps",
        requests=(
            "How do I use the {subject}?",
            "Give me instructions for using the {subject}.",
            "Explain step by step how to work with the {subject}.",
            "I have never used the {subject}. Where do I start?",
            "What are the steps to get started with the {subject}?",
            "Teach me to handle the {subject}.",
        ),
        lead=(
            "Using the {subject} takes only a few steps.",
            "It is easy to learn how to handle the {subject}.",
            "Follow these steps when you use the {subject}.",
        ),
        body=(
            ("Go to the {place} and make some room.", "Clear a space in the {place} first.",
             "Prepare the {place} before you begin."),
            ("Check the {part} with both hands.", "Make sure that the {part} is ready.",
             "Look closely at the {part}."),
            ("Now {purpose} without any hurry.", "Then slowly {purpose}.", "Next, {purpose} as usual."),
            ("Put everything back in order.", "Finally, let it rest for an hour.", "Stop when you are done."),
        ),
    ),
    Kind(
        "description", "a description", ("description", "overview"), "paragraph",
        requests=(
            "What is the {subject}?",
            "Describe the {subject}.",
            "What does the {subject} look like?",
            "Give me a short overview of the {subject}.",
            "Can you paint me a picture of the {subject} in words?",
            "I do not know the {subject}. What should I imagine?",
        ),
        lead=(
            "The {subject} is a familiar sight in the {place}.",
            "The {subject} is known to most people from the {place}.",
            "You will often see the {subject} in the {place}.",
        ),
        body=(
            ("Its colour is {colour}.", "It looks {colour} in daylight.", "The whole of it appears {colour}."),
            ("The most striking thing about it is the {part}.", "One notices the {part} at once.",
             "Its {part} stands out."),
            ("It serves to {purpose}.", "Its main purpose is to {purpose}.", "It was made to {purpose}."),
            ("In general it is {virtue}.", "Most people call it {virtue}.", "By nature it is {virtue}."),
        ),
    ),
    Kind(
        "comparison", "a comparison", ("comparison", "versus"), "paragraph",
        requests=(
            "Compare the {subject} with the {other}.",
            "Which is better, the {subject} or the {other}?",
            "What is the difference between the {subject} and the {other}?",
            "How does the {subject} differ from the {other}?",
            "Should I choose the {subject} or the {other}?",
            "Set the {subject} against the {other}.",
        ),
        lead=(
            "The {subject} and the {other} have much in common, but they are not the same.",
            "Many people hesitate between the {subject} and the {other}.",
            "At first the {subject} and the {other} seem alike.",
        ),
        body=(
            ("The former is {colour}, while the latter is {other_colour}.",
             "The first one is {colour} and the second one is {other_colour}."),
            ("The former is {virtue}, whereas the latter is {other_virtue}.",
             "The first one is {virtue}, but the second one is {other_virtue}."),
            ("On the other hand, the former is {flaw} and the latter is {other_flaw}.",
             "However, the first one is {flaw} and the second one is {other_flaw}."),
            ("Both can {purpose} equally well.", "In the end both of them {purpose}.",
             "Either of them will {purpose}."),
        ),
    ),
    Kind(
        "story", "a story", ("story", "tale"), "paragraph",
        requests=(
            "Tell me a story about the {subject}.",
            "Write a short tale with the {subject} in it.",
            "Can you make up a bedtime story about the {subject}?",
            "I would like to hear a tale of the {subject}.",
            "Invent a little adventure with the {subject}.",
            "My children want a story. Take the {subject}.",
        ),
        lead=(
            "Once upon a time a {maker} in {town} owned the {subject}.",
            "Long ago an old {maker} from {town} found the {subject}.",
            "There once was a young {maker} in {town} who loved the {subject}.",
        ),
        body=(
            ("One night a thief crept into the {place}.", "One day a stranger knocked at the {place}.",
             "One morning there was no one in the {place}."),
            ("He grabbed the {part} and ran away.", "She touched the {part} and began to cry.",
             "Nobody dared to touch the {part}."),
            ("The whole village came to {purpose}.", "All he ever wanted was to {purpose}.",
             "She only wished to {purpose}."),
            ("They lived happily ever after.", "From that day on they were friends.",
             "And the secret was never told again."),
        ),
    ),
    Kind(
        "warning", "a warning", ("danger", "safety"), "paragraph",
        requests=(
            "Is the {subject} dangerous?",
            "Warn me about the dangers of the {subject}.",
            "What can go wrong with the {subject}?",
            "Which accidents happen with the {subject}?",
            "How do people get hurt by the {subject}?",
            "What must I never do with the {subject}?",
        ),
        lead=(
            "Be careful with the {subject}.",
            "Caution is needed around the {subject}.",
            "Never underestimate the {subject}.",
        ),
        body=(
            ("It can {danger}.", "A moment without attention and it may {danger}.",
             "Every year it will {danger} somewhere."),
            ("Keep children away from the {part}.", "The {part} is the most dangerous place.",
             "Do not let anyone play with the {part}."),
            ("Never leave it alone in the {place}.", "It is forbidden to run in the {place}.",
             "Accidents happen most often in the {place}."),
            ("Call a doctor if someone is hurt.", "In an emergency, ask for help at once.",
             "If in doubt, do not touch it."),
        ),
    ),
    Kind(
        "facts", "a list of facts", ("facts", "data"), "bullets",
        requests=(
            "List some facts about the {subject}.",
            "What are the key facts about the {subject}?",
            "Give me the data of the {subject} in short form.",
            "Sum up the {subject} in a few points.",
            "I need a fact sheet on the {subject}.",
            "What should one know about the {subject} at a glance?",
        ),
        lead=(
            "Here are the facts about the {subject}.",
            "The {subject} at a glance.",
            "Some data on the {subject}.",
        ),
        body=(
            ("Colour: {colour}", "Usual colour: {colour}"),
            ("Price: {price} coins", "Usual price: {price} coins"),
            ("Origin: {town}", "Home town: {town}"),
            ("Since: {year}", "First year: {year}"),
            ("Use: to {purpose}", "Main use: to {purpose}"),
        ),
    ),
    Kind(
        "care", "advice on care", ("care", "maintenance"), "paragraph",
        requests=(
            "How do I care for the {subject}?",
            "How should the {subject} be looked after?",
            "What does the {subject} need to stay in good condition?",
            "How can I keep the {subject} as good as new?",
            "Give me tips on the upkeep of the {subject}.",
            "How often must I treat the {subject}, and with what?",
        ),
        lead=(
            "With a little care the {subject} will last for years.",
            "The {subject} needs regular care.",
            "Looking after the {subject} is not much work.",
        ),
        body=(
            ("Treat it with {remedy} once a week.", "Every month it should get {remedy}.",
             "Give it some {remedy} now and then."),
            ("Clean the {part} with a dry brush.", "Wipe the {part} gently.",
             "Do not forget to clean the {part}."),
            ("Protect it from {enemy}.", "Above all, keep it away from {enemy}.",
             "It does not tolerate {enemy}."),
            ("In winter, keep it in the {place}.", "The best spot for it is the {place}.",
             "At night it belongs in the {place}."),
        ),
    ),
    Kind(
        "buying", "advice on buying", ("buying", "price"), "paragraph",
        requests=(
            "What should I look for when I buy the {subject}?",
            "Where can I get the {subject}, and what does it cost?",
            "Help me to buy the {subject}.",
            "How much money do I need for the {subject}?",
            "I want to get the {subject}. What is a fair price?",
            "Give me some advice before I pay for the {subject}.",
        ),
        lead=(
            "Before you buy the {subject}, take your time.",
            "A few things matter when you choose the {subject}.",
            "Not every seller of the {subject} is honest.",
        ),
        body=(
            ("A fair price is {price} coins.", "Do not pay more than {price} coins.",
             "Expect to spend about {price} coins."),
            ("Inspect the {part} before you pay.", "A good {part} is the best sign of quality.",
             "Ask the seller to show you the {part}."),
            ("The best ones come from {town}.", "Buyers trust those from {town}.",
             "The market in {town} has the widest choice."),
            ("Keep in mind that it is {flaw}.", "Remember that it can be {flaw}.",
             "Do not complain later that it is {flaw}."),
        ),
    ),
    Kind(
        "history", "a history", ("history", "origin"), "paragraph",
        requests=(
            "What is the history of the {subject}?",
            "Tell me where the {subject} comes from.",
            "How did the {subject} come about?",
            "Who was the first to have the {subject}, and when?",
            "Since when do people know the {subject}?",
            "Trace the {subject} back to its origins.",
        ),
        lead=(
            "The history of the {subject} goes back to {year}.",
            "The {subject} was first mentioned in {year}.",
            "Old books speak of the {subject} as early as {year}.",
        ),
        body=(
            ("It was the idea of a {maker} in {town}.", "A {maker} in {town} is said to be its father.",
             "A forgotten {maker} brought it to {town}."),
            ("At that time only kings had one to {purpose}.", "In those days people had no other way to {purpose}.",
             "It was the first that could {purpose}."),
            ("After the war it reached every {place}.", "A century later it stood in each {place}.",
             "Soon it had conquered every {place}."),
            ("Its {part} has hardly changed since then.", "Only the {part} was altered over the centuries.",
             "Museums still show an early {part}."),
        ),
    ),
    Kind(
        "weighing", "a list of pros and cons", ("pros and cons", "opinion"), "bullets",
        requests=(
            "What are the pros and cons of the {subject}?",
            "Is the {subject} worth having?",
            "What speaks for and against the {subject}?",
            "Name the strong and the weak points of the {subject}.",
            "What are the benefits and drawbacks of the {subject}?",
            "Weigh up the {subject} for me.",
        ),
        lead=(
            "There are two sides to the {subject}.",
            "The {subject} has strong and weak points.",
            "Opinions on the {subject} differ.",
        ),
        body=(
            ("Pro: it is {virtue}.", "Strong point: it is {virtue}."),
            ("Pro: it helps you to {purpose}.", "Strong point: it is able to {purpose}."),
            ("Con: it is {flaw}.", "Weak point: it is {flaw}."),
            ("Con: it suffers from {enemy}.", "Weak point: it is no match for {enemy}."),
        ),
    ),
    Kind(
        "repair", "help with a problem", ("problem", "repair"), "steps",
        requests=(
            "My {subject} has a problem. What can I do?",
            "How do I fix the {subject}?",
            "Something is wrong with the {subject}. Please help.",
            "The {subject} is in bad shape. How can I save it?",
            "What helps when the {subject} has been damaged?",
            "Find out what is wrong with my {subject}.",
        ),
        lead=(
            "If the {subject} is in trouble, {enemy} may be the cause.",
            "When the {subject} fails, the reason is mostly {enemy}.",
            "Most problems with the {subject} begin with {enemy}.",
        ),
        body=(
            ("Search the {part} for damage.", "See whether the {part} is loose.",
             "Test the {part} with one finger."),
            ("Apply {remedy} to the bad spot.", "Try {remedy} for three days.",
             "Usually {remedy} will solve the problem."),
            ("Wait a day and test it again.", "Repeat this twice.", "Do the same again a week later."),
            ("If nothing helps, visit a {maker}.", "Otherwise only a {maker} can save it.",
             "Leave the rest to a {maker}."),
        ),
    ),
    Kind(
        "poem", "a poem", ("poem", "verse"), "paragraph",
        requests=(
            "Write a poem about the {subject}.",
            "Can you put the {subject} into verse?",
            "Praise the {subject} in a few lines of verse.",
            "I need a rhyme on the {subject} for a birthday.",
            "Compose a song for the {subject}.",
            "Make me some poetry out of the {subject}.",
        ),
        lead=(
            "O {subject}, you are my delight,",
            "My {subject}, you shine so bright,",
            "Sweet {subject}, I dream of you at night,",
        ),
        body=(
            ("so {colour} in the morning light.", "your {colour} glow is such a sight."),
            ("I praise your {part}, I sing your name,", "your {part} has won eternal fame,"),
            ("without you nothing is the same.", "and every day I feel the same."),
            ("O stay with me and {purpose},", "for only you so well {purpose},"),
            ("till all the stars in heaven doze.", "until the book of time shall close."),
        ),
    ),
)  # fmt: skip

KIND_BY_NAME = {kind.name: kind for kind in KINDS}

COMMON_KINDS = ("instructions", "description", "story", "warning", "facts", "care", "buying")
"""The kinds that nearly all seed pairs show; the held-out pairs ask for all kinds alike."""

RARE_SHARE = 0.1
"""Share of the seed pairs that show one of the other kinds."""

SEED_CATEGORIES = ("kitchenware", "furniture", "plants", "animals")
"""The categories of subjects that seed pairs show; the held-out pairs ask about all."""
