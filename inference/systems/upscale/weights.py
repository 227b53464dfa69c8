"""The published files that upscale can use. It can do without, by Lanczos."""

from inference.weights import Layout, Weights

SWIN2SR = Weights(
    name="swin2sr-classical-x2-64",
    repo="caidas/swin2SR-classical-sr-x2-64",
    revision="cee1c923c6a37361c6e5650b65dcf4be821e5d52",
    layouts=(
        Layout(
            {
                "config.json": "11179bdfd48394977f7fe6177b3a87d9c2c6fa2a67a4b3a7376229ca407f0376",
                "model.safetensors": "a515955815ab6dba3a9331d8c75db13a5166a5ffbcebf1a95ab676a5656ac4fb",
                "preprocessor_config.json": "cbc36266fcc93d5bc1e9ca69bcc648ae9d268918ad14cd3507216740f129cc4d",
            }
        ),
    ),
    licence="Apache-2.0",
    licence_url="https://huggingface.co/caidas/swin2SR-classical-sr-x2-64",
    megabytes=48,
    purpose="sharper pictures for upscale: twice as many pixels on each side, and twice that again",
    facts={"parameters": 12_091_571, "tensor_bytes": 48_460_660},
)

WEIGHTS = (SWIN2SR,)
