"""Why lemmas? A classifier that read only of one ship that sails is asked about ships that sailed.

Sentences become rows of word numbers: in lower case, without stop words, as written or as lemmas, the forms that a
dictionary lists. Rows differ in length, so ``gpuload.collate`` makes the batches: filled up, with a mask, or one
behind the other, as torch's ``embedding_bag`` takes them. The model's scores are the same, but for rounding.

    pip install "gpuload[demo]"
    python examples/text.py        # prints a table
"""

import random
import re
from collections.abc import Callable

import torch
from simplemma import lemmatize
from sklearn.feature_extraction.text import ENGLISH_STOP_WORDS
from torch import nn
from torch.utils.data import Dataset

from gpuload import DataLoader
from gpuload.collate import Collate, Pad, Padded, Ragged, Rows

TOPICS = [  # nouns, each one and many; verbs, each present and past
    ("horse horses goose geese calf calves mouse mice", "eats ate feeds fed breeds bred"),
    ("knife knives tomato tomatoes dish dishes cherry cherries", "bakes baked fries fried boils boiled"),
    ("singer singers violin violins melody melodies choir choirs", "sings sang plays played dances danced"),
    ("ship ships wave waves sailor sailors harbor harbors", "sails sailed swims swam sinks sank"),
]
UNKNOWN = 0  # the number of a word that no training sentence has
PADDED, RAGGED = Pad(lengths=True), Ragged(nested=False)
EPOCHS = 5

Sentence = tuple[str, int]


def sentences(count: int, form: int, seed: int) -> list[Sentence]:
    """Texts of one to four clauses and their topics; form: 0 for one thing, now, 1 for many, in the past."""
    chance = random.Random(seed)

    def clause(nouns: str, verbs: str) -> str:
        noun, other = chance.sample(nouns.split()[form::2], 2)
        return f"the {noun} {chance.choice(verbs.split()[form::2])} with the {other}"

    topics = [chance.randrange(len(TOPICS)) for _ in range(count)]
    texts = [" and ".join(clause(*TOPICS[topic]) for _ in range(chance.randint(1, 4))) for topic in topics]
    return [(f"{text.capitalize()}.", topic) for text, topic in zip(texts, topics, strict=True)]


def lemma(word: str) -> str:
    return lemmatize(word, lang="en")


def words(text: str, form_of: Callable[[str], str]) -> list[str]:
    """The words that say something, each in the form that counts."""
    return [form_of(word) for word in re.findall(r"\w+", text.lower()) if word not in ENGLISH_STOP_WORDS]


class Texts(Dataset[tuple[torch.Tensor, int]]):
    """Samples are (numbers of the words: (L,) int64, topic)."""

    def __init__(self, sentences: list[Sentence], numbers: dict[str, int], form_of: Callable[[str], str]) -> None:
        self.sentences, self.numbers, self.form_of = sentences, numbers, form_of

    def __len__(self) -> int:
        return len(self.sentences)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        text, topic = self.sentences[index]
        return torch.tensor([self.numbers.get(word, UNKNOWN) for word in words(text, self.form_of)]), topic


class Classifier(nn.Module):
    """The mean of the words' embeddings, then one linear layer."""

    def __init__(self, words: int) -> None:
        super().__init__()
        self.embedding, self.head = nn.Embedding(words, 16), nn.Linear(16, len(TOPICS))

    def forward(self, rows: Padded | Rows) -> torch.Tensor:
        return self.head(self.means(rows))  # type: ignore[no-any-return]

    def means(self, rows: Padded | Rows) -> torch.Tensor:
        if isinstance(rows, Rows):
            return nn.functional.embedding_bag(rows.values, self.embedding.weight, rows.offsets[:-1], mode="mean")
        embedded: torch.Tensor = self.embedding(rows.values) * rows.mask(0).unsqueeze(-1)
        return embedded.sum(1) / rows.lengths.unsqueeze(-1)


def train(lessons: Texts) -> Classifier:
    torch.manual_seed(0)
    loader = DataLoader(lessons, batch_size=16, shuffle=True, seed=0, collate_fn=PADDED)
    model = Classifier(len(lessons.numbers) + 1).to(loader.device)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    for _ in range(EPOCHS):
        for rows, topics in loader:
            optimizer.zero_grad()
            nn.functional.cross_entropy(model(rows), topics).backward()
            optimizer.step()
    return model


@torch.no_grad()
def scores(model: Classifier, questions: Texts, collate: Collate) -> torch.Tensor:
    """(texts, topics), on the CPU."""
    return torch.cat([model(rows) for rows, _ in DataLoader(questions, batch_size=50, collate_fn=collate)]).cpu()


def main() -> dict[str, float]:
    """Train on words as written and on lemmas, print a table; returns the shares of right answers."""
    known, asked = sentences(400, form=0, seed=0), sentences(200, form=1, seed=1)
    topics = torch.tensor([topic for _, topic in asked])
    text, shares = asked[0][0], {}
    print(f"{'words':<12}{'right answers':>15}{'padded - ragged':>18}   {text}")
    for name, form_of in (("as written", str), ("as lemmas", lemma)):
        vocabulary = sorted({word for text, _ in known for word in words(text, form_of)})
        numbers = {word: number for number, word in enumerate(vocabulary, start=UNKNOWN + 1)}
        model, questions = train(Texts(known, numbers, form_of)), Texts(asked, numbers, form_of)
        padded, ragged = scores(model, questions, PADDED), scores(model, questions, RAGGED)
        shares[name] = (ragged.argmax(1) == topics).float().mean().item()
        apart = (padded - ragged).abs().max().item()
        print(f"{name:<12}{shares[name]:>15.0%}{apart:>18.0e}   {' '.join(words(text, form_of))}")
    print(f"{'by chance':<12}{1 / len(TOPICS):>15.0%}")
    return shares


if __name__ == "__main__":
    main()
