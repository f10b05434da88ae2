"""Make seeds.jsonl: 224 plain sentences, each with a style, that a teacher paraphrases as customers write.

Seven topics of eight situations, each in four products and styles. `tickets.yaml` has them paraphrased; the topic that
a sentence was written for is in `meant`, and nobody is shown it.
"""

import json
import random
from pathlib import Path

HERE = Path(__file__).parent
SEED = 11
EACH = 4  # seeds of a situation

SITUATIONS = {
    "account": [
        "I forgot my password and the link for a new one never comes.",
        "I cannot sign in to my account although my password is right.",
        "I moved house and want to change the address in my profile.",
        "I have a new e-mail address and want to use it for my account.",
        "I want you to delete my account and all my data.",
        "My account is locked after too many attempts.",
        "Somebody else seems to have used my account, please secure it.",
        "I have two accounts and want to put them together.",
    ],
    "billing": [
        "I was charged twice for the {product}.",
        "I need an invoice for the {product} with the name of my company.",
        "My credit card was declined when I paid for the {product}.",
        "The amount on my bank statement is higher than the price of the {product}.",
        "Can I pay for the {product} in instalments?",
        "My discount code was not taken off the bill for the {product}.",
        "I got a reminder to pay for the {product}, but I have paid already.",
        "There is a fee on my invoice for the {product} that I do not understand.",
    ],
    "cancellation": [
        "I ordered the {product} by mistake, please cancel the order.",
        "I want to cancel my yearly membership.",
        "I found the {product} cheaper elsewhere, please stop my order before it is sent.",
        "Please end my subscription at the end of the month.",
        "I ordered two of the {product} and want to cancel one of them.",
        "How do I cancel my order of the {product}, I do not need it any more?",
        "I do not want my trial month to go on as a paid membership.",
        "Cancel my preorder of the {product}, I cannot wait that long.",
    ],
    "delivery": [
        "The tracking says that my {product} was delivered, but it is not here.",
        "My {product} should have come last week, where is it?",
        "The tracking number of my {product} does not work.",
        "Can the {product} be brought on a Saturday?",
        "The driver left the {product} with a neighbour whom I do not know.",
        "My {product} is stuck at the depot for days.",
        "Please send the {product} to my office instead, it is on its way.",
        "Only one of the two parcels with my {product} has come.",
    ],
    "product": [
        "Does the {product} fit what I have at home?",
        "When will the {product} be in stock again?",
        "How big and how heavy is the {product}?",
        "Which colours do you have the {product} in?",
        "What is the difference between the two models of the {product}?",
        "Is the {product} easy to clean?",
        "How long is the guarantee on the {product}?",
        "Does the {product} need batteries or a cable, and does it come with them?",
    ],
    "returns": [
        "I want to send the {product} back, I do not like it.",
        "You sent me the wrong {product}, I want to exchange it.",
        "The {product} came broken and I want my money back.",
        "Where is the return label for the {product}?",
        "I sent the {product} back two weeks ago and have no refund yet.",
        "How many days do I have to return the {product}?",
        "The {product} is too small, can I swap it for a bigger one?",
        "Who pays the postage when I return the {product}?",
    ],
    "technical": [
        "The app crashes as soon as I open the basket.",
        "The {product} does not switch on any more.",
        "The {product} does not connect to the wireless network.",
        "The page for paying stays white in my browser.",
        "The {product} shows an error and stops.",
        "The update broke the {product}, it is very slow now.",
        "The search on your website finds nothing, whatever I type.",
        "The {product} makes a loud noise since yesterday, how do I fix it?",
    ],
}
PRODUCTS = [
    "coffee machine", "vacuum cleaner", "headphones", "desk lamp", "toaster", "tablet", "office chair", "smart watch",
    "printer", "router", "kettle", "air fryer", "keyboard", "television", "bookshelf", "mixer", "phone case",
    "electric toothbrush", "speaker", "fan",
]  # fmt: skip
STYLES = [
    "annoyed", "polite and formal", "very short", "chatty, with a reason", "in a hurry, all in small letters",
    "worried", "as a question", "plain, with a date", "plain, with an order number", "friendly",
]  # fmt: skip


def main() -> None:
    """Writes seeds.jsonl."""
    draw = random.Random(SEED)
    rows = []
    for meant, situations in SITUATIONS.items():
        for situation in situations:
            products, styles = draw.sample(PRODUCTS, EACH), draw.sample(STYLES, EACH)
            for product, style in zip(products, styles, strict=True):
                rows.append({"sentence": situation.format(product=product), "style": style, "meant": meant})
    draw.shuffle(rows)
    text = "".join(json.dumps(row) + "\n" for row in rows)
    (HERE / "seeds.jsonl").write_text(text)


if __name__ == "__main__":
    main()
