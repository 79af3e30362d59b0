"""The words of the world. The first words of a list are the most common: weights fall as 1 / (rank + offset)."""

from __future__ import annotations


def ranked(words: str | list[str], offset: float = 8.0) -> tuple[tuple[str, float], ...]:
    """Words with Zipf-like weights in the order given."""
    listed = words.split() if isinstance(words, str) else words
    return tuple((word, 1.0 / (rank + offset)) for rank, word in enumerate(listed))


SHE = ranked("Anna Mary Nora Lily Rose Ella Ruth Clara Sofia Emma Grace Ida Martha Helen Jane Kate Lucy Olga Petra Tess Vera "
             "Wanda Zoe Alma Bella Cora Dora Edith Flora Greta Hilda Iris Julia Klara Leila Mona Nina Pia Rita Sarah", 20)
HE = ranked("Tom Ben Max Peter Paul Jack Sam Leo Hugo Oscar Adam David Eric Felix George Henry Ivan Jacob Karl Luke Martin "
            "Noah Otto Philip Robert Simon Theo Victor Walter Yusuf Albert Bruno Conrad Dennis Emil Frank Gustav Harold Igor "
            "Jonas", 20)
SURNAMES = ranked("Hill Wood Stone Marsh Field Brook Lake Ford Glen Heath Rivers Banks Moss Reed Thorn Ash Birch Elm Frost "
                  "Snow Winter Summers Day Knight King Bishop Page Cook Smith Wright Cooper Mason Carter Turner Archer "
                  "Shepherd Gardner Taylor Webb Cobb Lamb Wolfe Drake Finch Swift Crane Hawk Pike Bass Salmon", 40)
DEEDS = ranked(["lost", "sold", "found", "stolen", "hidden", "bought", "broken", "painted", "mended", "dropped", "buried",
                "forgotten"], 12)
# by what they are: the words fit both
ROLES = ranked("farmer baker teacher doctor sailor painter gardener singer tailor student miller fisher weaver potter "
               "hunter writer", 12)
TRAITS = ranked(["young", "old", "clever", "kind", "brave", "poor", "quiet", "cheerful", "shy", "honest", "lazy", "tall",
                 "curious", "careful", "gentle", "proud", "patient", "stubborn", "lonely", "busy"], 12)
RELATIONS = ranked(["friend", "neighbour", "cousin", "teacher", "old friend", "best friend"], 2)
HER_KIN = ranked(["sister", "mother", "aunt", "daughter", "niece", "grandmother"], 2)
HIS_KIN = ranked(["brother", "father", "uncle", "son", "nephew", "grandfather"], 2)

PLACES = ranked(["the garden", "the mill", "the river", "the market", "the kitchen", "the forest", "the school", "the barn",
                 "the bridge", "the lake", "the village square", "the old tower", "the station", "the harbour", "the library",
                 "the bakery", "the church", "the meadow", "the workshop", "the hill", "the well", "the beach", "the attic",
                 "the castle", "the inn", "the park"], 5)

# how one is at a place; "in" where nothing is said
LOCATIVE = dict.fromkeys(["the mill", "the river", "the market", "the school", "the bridge", "the lake", "the station",
                          "the harbour", "the well"], "at") | dict.fromkeys(["the hill", "the beach"], "on")

COLOURS = ranked(["red", "blue", "green", "yellow", "white", "black", "brown", "grey", "silver", "golden"], 16)
LOOKS = ranked(["small", "big", "old", "new", "broken", "pretty", "heavy", "dirty", "shiny", "strange", "wooden", "round",
                "warm", "empty", "ugly", "soft", "tiny", "expensive"], 16)
THINGS = ranked(["ball", "book", "hat", "box", "purse", "cup", "kite", "basket", "lamp", "map", "coat", "doll", "drum", "flute",
                 "ring", "spoon", "bell", "candle", "blanket", "clock", "bucket", "ladder", "letter", "mirror", "picture",
                 "plate", "rope", "saddle", "scarf", "stone", "sword", "umbrella", "violin", "wagon", "whistle", "hammer",
                 "bottle", "bag", "chair", "knife", "pencil", "anchor", "axe", "egg", "apron"], 30)
PAIRS = ranked(["shoes", "gloves", "boots", "keys", "glasses", "flowers", "coins", "shells", "feathers", "socks", "nails",
                "skates"], 12)
FRUIT = ranked(["apples", "pears", "plums", "nuts", "cherries", "eggs", "berries", "carrots", "mushrooms", "cakes"], 10)

ANIMALS = ranked(["crows", "ducks", "sheep", "goats", "horses", "bees", "swans", "cows", "frogs", "foxes", "geese", "owls",
                  "rabbits", "squirrels", "butterflies", "wolves"], 8)
TUNES = ranked(["a king", "the sea", "two lovers", "a clever fox", "the moon", "the old days", "a lost ship", "the harvest",
                "a wise queen", "the winter", "a lazy giant", "three thieves"], 8)

SPOTS = ranked(["under a tree", "by the door", "on the ground", "behind a wall", "near the path", "on a bench", "in a corner",
                "under a stone", "beside a fence", "in the grass", "on a shelf", "between two boxes"], 12)
GOOD = ranked(["happy", "glad", "proud", "pleased", "calm", "full of joy"], 6)
BAD = ranked(["sad", "worried", "tired", "hungry", "angry", "lonely", "cold", "afraid", "bored", "upset"], 8)
TIMES = ranked(["One morning", "One day", "Last summer", "Long ago", "One evening", "Early one spring", "On a cold night",
                "Last week", "One Sunday", "On a Monday"], 10)
SKY = ranked(["to rain", "to snow", "to get dark", "to grow warm", "to get windy", "to grow foggy", "to thunder"], 2)
MORE = ranked(["bigger", "older", "heavier", "prettier", "smaller", "lighter", "newer", "cheaper"], 3)
WAYS = ranked(["walked", "went", "ran", "hurried", "rode", "wandered", "crept", "marched"], 6)
