"""Mentions, denials and distances in answers as models write them since 2024."""

import pytest

from halluguard.correction.claims import extract


def existence(text):
    return [c for c in extract(text) if c.kind == "existence"]


def names(text):
    return [c.name for c in existence(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # Markup, labels, keyword lists, emoji.
        ("- **Kite:** It is red.", ["kite"]),
        ("Keywords: Lamp, Kite, Box", ["lamp", "kite", "box"]),
        ("Keywords: lamp, blue, outdoor, orange", ["lamp"]),
        ("A truck 🚚 stands near a barn 🏚️.", ["truck", "barn"]),
        ("A BROWN DOG SITS NEXT TO A RED KITE.", ["dog", "kite"]),
        ("Title: Two Cats on a Couch", ["cat", "couch"]),
        ('["dog", "bowl"]', ["dog", "bowl"]),
        ('{"Truck Number": "22", "Date": "8-14-23"}', []),
        ("<think>I see a truck.</think>A barn.", ["barn"]),
        # What the small tagger misses or a stop list held back.
        ("She has a cap, a scarf, and gloves.", ["cap", "scarf", "glove"]),
        ("A man wearing a mask walks.", ["man", "mask"]),
        ("A sign, a document and a camera are on the desk.", ["sign", "document", "camera", "desk"]),
        ("A croissant lies on a silver ladle.", ["croissant", "ladle"]),
        ("A cow grazes.", ["cow"]),
        ("A skier glides down the slope.", ["skier", "slope"]),
        ("On her finger, she wears a ring.", ["finger", "ring"]),
        ("She wears a black outfit with a gold coin.", ["outfit", "coin"]),
        ("Gravestones dot the grassy field.", ["gravestone", "field"]),
        ("A person walks on the promenade to the theme park ride.", ["person", "promenade", "theme park"]),
        ("Green truck parked outside barn", ["truck", "barn"]),
        ("Title: A Cat Laying on a Couch", ["cat", "couch"]),
        ("1girl, solo, 2boys, 4k", ["girl", "boy"]),
        ("a dog a cat sofa, photo of street, 4k, masterpiece", ["dog", "cat", "sofa", "street"]),
        ("cats, pink couch, relaxed, tabby", ["cat", "couch"]),
        # JSON
        ('{"name": "dog"}', ["dog"]),
        ('{"sender": {"name": "John Smith"}}', []),
        ('{"dog": 2, "traffic_light": 1}', ["dog", "traffic light"]),
        ('{"width": 640, "height": 480}', []),
        ("The dish is garnished with a few pumpkin seeds.", ["dish", "pumpkin seed"]),
        ("It is about building a strategy.", []),
        ("A small flower adds a pop of color.", ["flower"]),
        ("A kite flies above a tent.", ["kite", "tent"]),
        # Words that are other things here.
        ("The room is painted in shades of teal and gold.", ["room"]),
        ("The photo has warm tones and a clean composition.", []),
        ("She is facing the camera.", []),
        ("She holds a camera.", ["camera"]),
        ('A dog stands under a sign that reads "FREE KITE".', ["dog", "sign"]),
        ("The word 'cat' is written on the wall.", ["wall"]),
        ("It is raining cats and dogs.", []),
        ("A fork in the road.", []),
        ("A fork in the trail leads to a stream.", ["trail", "stream"]),
        ("A sea of umbrellas.", ["umbrella"]),
        ("A train of camels crosses the desert.", ["camel", "desert"]),
        ("A screenshot of an app with a button, a search bar and an icon.", []),
        ("A depth map with a clear scale.", []),
        ("The bridge is made of stone and wood.", ["bridge"]),
        ("A string of lights hangs above patches of grass.", ["lights", "grass"]),
        ("A blue sign with the letter A.", ["sign"]),
        ("5. Marinara - 5,00€\n6. Calzone - 14,00€", []),
        ("The photo was taken around sunset.", []),
        ("A dog sits.<|im_end|><|im_start|>assistant\nA cat.", ["dog", "cat"]),
        # Names.
        ("The office is at 20 Fenchurch Street.", ["office"]),
        ("A view of Bishop's Stortford.", []),
        ("A red Ford Mustang is parked on the street.", ["car", "street"]),
        ("A green Ford F-150 is parked by a barn.", ["truck", "barn"]),
        ("A Ford truck and two BMWs are parked.", ["truck", "car"]),
        ("The BMW logo is on the wall.", ["logo", "wall"]),
        ("An iPhone 15 lies on a MacBook Pro.", ["cell phone", "laptop"]),
        ("A mustang runs.", ["mustang"]),
        ("A bottle of Grey Goose and a can of Monster are on the counter.", ["bottle", "can", "counter"]),
        ("Donald Duck and Bugs Bunny are printed on the cup.", ["cup"]),
        ("The meal comes from Turkey.", []),
        ("A Siberian Husky runs.", ["husky"]),
        ("They visit Arundel Cathedral.", ["cathedral"]),
        # Homographs and hyphens.
        ("A hawk, a kite and an eagle sit on branches.", ["hawk", "bird", "eagle", "branch"]),
        ("A child hugs a teddy-bear.", ["child", "teddy bear"]),
        ("A hot-dog lies on a plate.", ["hot dog", "plate"]),
        ("The zebras live in small herds led by a dominant male.", ["zebra", "animal"]),
    ],
)
def test_mentions_by_positive_evidence(text, expected):
    assert names(text) == expected


@pytest.mark.parametrize(
    ("text", "name", "modality"),
    [
        ("The dog is not visible.", "dog", "asserted"),
        ("No dog can be seen.", "dog", "asserted"),
        ("A cat is nowhere to be seen.", "cat", "asserted"),
        ("The umbrella is absent.", "umbrella", "asserted"),
        ("Not a single dog is present.", "dog", "asserted"),
        ("There are 0 dogs.", "dog", "asserted"),
        ("The image fails to show a dog.", "dog", "asserted"),
        ("The image does not contain any cars.", "car", "asserted"),
        ("- **Dogs:** none", "dog", "asserted"),
        ('{"dog": 0, "cat": 1}', "dog", "asserted"),
        ('{"dog": false, "cat": true}', "dog", "asserted"),
        ("**Dogs:** None visible.", "dog", "asserted"),
        ("Not visible in the image: dogs, cats.", "cat", "asserted"),
        ("Not visible:\n- dogs\n- cats", "cat", "asserted"),
        ("| Object | Seen |\n|---|---|\n| Dog | no |", "dog", "asserted"),
        ("Hardly any people are there.", "person", "restricted"),
        ("There are few cars.", "car", "restricted"),
        ("Nobody is using a phone.", "phone", "restricted"),
        ("None of the people holds an umbrella.", "umbrella", "restricted"),
        ("No person in the scene is riding a bicycle.", "bicycle", "restricted"),
        ("No dog is running on the sand.", "dog", "restricted"),
        ("Neither man wears a tie.", "tie", "restricted"),
        ("No dog is visible on the sand.", "dog", "asserted"),
        ("No cars can be seen.", "car", "asserted"),
        ("There are no other people in sight.", "person", "restricted"),
        ("There is a cat, and there is no other animal.", "animal", "restricted"),
        ("There are no people other than the surfer.", "person", "restricted"),
        ("There are no additional people.", "person", "restricted"),
        ("There are no people sitting at the table.", "person", "restricted"),
        ("There is no red car.", "car", "restricted"),
        ("The man is not wearing a tie.", "tie", "restricted"),
    ],
)
def test_denials_and_their_restrictions(text, name, modality):
    (claim,) = [c for c in existence(text) if c.name == name]
    assert (claim.polarity, claim.modality) == ("denied", modality)


@pytest.mark.parametrize(
    ("text", "name", "modality"),
    [
        ("The poster shows a cat and a dog.", "dog", "depicted"),
        ("The painting on the wall depicts a horse.", "horse", "depicted"),
        ("A cup with a cat printed on it is on the table.", "cat", "depicted"),
        ("The hydrant is painted to resemble a train.", "train", "depicted"),
        ("A cake shaped like a dog.", "dog", "depicted"),
        ("He looks like a bear in that coat.", "bear", "depicted"),
        ("The clouds look like sheep.", "sheep", "depicted"),
        ("It looks like a bear.", "bear", "hedged"),
        ("The animal looks like a bear.", "bear", "hedged"),
        ("The rock is the size of a car.", "car", "depicted"),
        ("The dog is as big as a horse.", "horse", "depicted"),
        ("On the TV, a dog is running.", "dog", "depicted"),
        ("A dog is seen on the screen.", "dog", "depicted"),
        ("A dog sits on the couch.", "dog", "asserted"),
        ("A zebra is a type of wild horse.", "horse", "irrealis"),
        ("It is unclear whether there is a dog.", "dog", "irrealis"),
        ("An illustration of a girl holding a kite.", "girl", "asserted"),
        ("An illustration of a girl holding a kite.", "kite", "asserted"),
        ("The image shows a dog.", "dog", "asserted"),
        ("A plush rug lies here.", "rug", "asserted"),
        ("A ceramic bowl.", "bowl", "asserted"),
        ("A few cars are here.", "car", "asserted"),
        ("A model of bicycle.", "bicycle", "asserted"),
    ],
)
def test_distances(text, name, modality):
    (claim,) = [c for c in existence(text) if c.name == name]
    assert (claim.polarity, claim.modality) == ("asserted", modality)


@pytest.mark.parametrize(
    ("text", "phrases"),
    [
        ('A dog stands under a sign that reads "FREE KITE".', ["FREE KITE"]),
        ("A shirt with the words 'Best Dad'.", ["Best Dad"]),
        ("Text: SALE TODAY\nA dog sits.", ["SALE TODAY"]),
        ('{"text": ["HELLO"], "objects": ["dog"]}', ["HELLO"]),
        ('A so-called "dog" sits here.', []),
    ],
)
def test_written_words_are_claims_of_their_own(text, phrases):
    claims = [c for c in extract(text) if c.kind == "text"]
    assert [c.phrase for c in claims] == phrases
    assert all(text[c.start : c.end] == c.phrase for c in claims)


@pytest.mark.parametrize(
    ("text", "name", "modality"),
    [
        ("The layout gives clear sightlines for spectators.", "spectator", "irrealis"),
        ("This makes the park accessible to people.", "person", "irrealis"),
        ("A dog sits next to people.", "person", "asserted"),
    ],
)
def test_people_in_general_are_not_claimed_to_be_there(text, name, modality):
    (claim,) = [c for c in existence(text) if c.name == name]
    assert claim.modality == modality
