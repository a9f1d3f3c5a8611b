"""Which providers there are, which of them can be updated, and with what."""

from service.domain.credentials import ApiKeyCredentials, OAuthCredentials
from service.domain.step import Provider
from service.providers import adapters, credential_kinds, providers, supported, unsupported

APOLLO, OUTREACH, SALESLOFT = Provider("apollo"), Provider("outreach"), Provider("salesloft")


def test_a_provider_can_be_updated_or_says_why_not() -> None:
    assert providers() == {"apollo": APOLLO, "outreach": OUTREACH, "salesloft": SALESLOFT}
    assert [*supported()] == [APOLLO, OUTREACH]
    assert [*unsupported()] == [SALESLOFT]
    assert all(unsupported().values())
    assert not any(adapter.unsupported for adapter in supported().values())


def test_a_provider_takes_its_kinds_of_credentials() -> None:
    kinds = {each: credential_kinds(each) for each in (APOLLO, OUTREACH, SALESLOFT, Provider("other"))}
    assert kinds == {
        APOLLO: (ApiKeyCredentials, OAuthCredentials),
        OUTREACH: (OAuthCredentials,),
        SALESLOFT: (),
        Provider("other"): (),
    }


def test_an_adapter_is_below_its_urls() -> None:
    made = adapters(lambda provider, name: f"https://{provider}.example/{name}/")
    assert [(each.base_url, each.token_url) for each in made.values()] == [
        ("https://apollo.example/base_url", "https://apollo.example/token_url/"),
        ("https://outreach.example/base_url/api/v2", "https://outreach.example/base_url/oauth/token"),
    ]
