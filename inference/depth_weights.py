"""Which published files depth needs: torch-free, and known to every room that sees depth."""

from inference.weights import Layout, Weights

DEPTH = Weights(
    name="depth-anything-v2-small",
    repo="depth-anything/Depth-Anything-V2-Small-hf",
    revision="5426e4f0f36572d16453bbda7a8389317b1bef99",
    layouts=(
        Layout(
            {
                "config.json": "c56698d3643dde1f83ea2212759e6b31a22b8f827246a36dd007ee8a22b3ff75",
                "model.safetensors": "3152477ce0d8d6978d76b995120de97cb5b928701fd0f817769f59e249a16b70",
                "preprocessor_config.json": "d41175c0d889477ca8fc67191e540faef14baf6275157b3fdecf78469e6bbf84",
            }
        ),
    ),
    licence="Apache-2.0",
    licence_url="https://huggingface.co/depth-anything/Depth-Anything-V2-Small-hf",
    megabytes=99,
    purpose="depth for parallax: near things move more than far ones",
)
