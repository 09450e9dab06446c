"""bmac_stream.alerts.channels: BMAC's two forms, the list of further channels, what is wrong by name."""

from typing import Any

import pytest

from bmac_stream.alerts.channels import TYPES, Channel, read_channels, secrets_in
from bmac_stream.alerts.events import KINDS

TOKEN = "f00dcafe0123456789abcdef"
SECRET = "SEC5c0ffee5c0ffee5c0ffee"
ROBOT = {"access_token": TOKEN, "secret": SECRET}
WECOM = "https://qyapi.weixin.qq.com/cgi-bin/webhook/send?key=693axxx6"


def one(raw: dict[str, Any], proxy: str | None = None) -> Channel:
    """The channel of one entry of `alerts`, which must be right."""
    found = read_channels(None, None, [raw], proxy)
    assert (found.problems, found.unknown) == ([], [])
    (channel,) = found.channels
    return channel


def wrong(raw: dict[str, Any]) -> dict[str, str]:
    """What is wrong with one entry of `alerts`."""
    found = read_channels(None, None, [raw], None)
    assert found.channels == []
    return dict(found.problems)


# --------------------------------------------------------------------------------------------- BMAC's forms


def test_bmacs_form_of_2024_08() -> None:
    found = read_channels({"error": ROBOT}, None, [], "http://p:1")
    assert (found.problems, found.warnings) == ([], [])
    (channel,) = found.channels
    assert channel.type == "dingding"
    assert channel.url == f"https://oapi.dingtalk.com/robot/send?access_token={TOKEN}"
    assert (channel.secret, channel.proxy) == (SECRET, "http://p:1")


@pytest.mark.parametrize(
    "raw",
    [
        {"type": "dingding", "error": ROBOT},
        {"error": {"type": "dingding", **ROBOT}},  # the only way that BMAC's own code took
        {"type": "wechat_work", "error": {"type": "dingding", **ROBOT}},
        {"type": "dingding", "trade": {"access_token": "unused"}, "error": ROBOT},
    ],
)
def test_bmacs_form_since_with_its_quirk(raw: dict[str, Any]) -> None:
    found = read_channels(None, raw, [], None)
    assert found.problems == []
    (channel,) = found.channels
    assert (channel.type, channel.secret, channel.name) == ("dingding", SECRET, "msg_sender")


def test_wechat_work_as_bmac_had_it() -> None:
    found = read_channels(None, {"type": "wechat_work", "error": {"webhook_url": WECOM}}, [], None)
    assert found.problems == []
    assert [(one.type, one.url) for one in found.channels] == [("wechat_work", WECOM)]


def test_both_forms_and_the_list_at_once() -> None:
    raw = [{"type": "webhook", "url": "https://h/x"}]
    found = read_channels({"error": ROBOT}, {"type": "dingding", "error": ROBOT}, raw, None)
    assert [channel.name for channel in found.channels] == ["dingding", "msg_sender", "alerts[0] webhook"]


@pytest.mark.parametrize(
    "raw",
    [
        {"type": "dingding"},
        {"type": "dingding", "trade": ROBOT},
        {"error": {"access_token": "", "secret": ""}},
    ],
)
def test_a_form_that_is_not_filled_in_is_a_warning(raw: dict[str, Any]) -> None:
    found = read_channels(raw, raw, [], None)
    assert (found.channels, found.problems) == ([], [])
    assert len(found.warnings) == 2
    assert all("nothing is sent" in text for _, text in found.warnings)


@pytest.mark.parametrize(
    ("raw", "key"),
    [
        ({"error": ROBOT}, "msg_sender.type"),
        ({"type": "dingdign", "error": ROBOT}, "msg_sender.type"),
        ({"type": "telegram", "error": ROBOT}, "msg_sender.type"),
        ({"type": 7, "error": ROBOT}, "msg_sender.type"),
        ({"type": "dingding", "error": [ROBOT]}, "msg_sender.error"),
        ({"type": "dingding", "error": {"secret": SECRET}}, "msg_sender.error"),
        ({"type": "dingding", "error": {"access_token": 12345678}}, "msg_sender.error.access_token"),
        ({"type": "wechat_work", "error": {"webhook_url": "s3cretpass"}}, "msg_sender.error.webhook_url"),
    ],
)
def test_what_is_wrong_with_bmacs_form_is_named(raw: dict[str, Any], key: str) -> None:
    found = read_channels(None, raw, [], None)
    assert [name for name, _ in found.problems] == [key]
    assert not found.channels
    assert not any(secret in text for _, text in found.problems for secret in (TOKEN, SECRET, "s3cret"))


# ------------------------------------------------------------------------------------------ the list's types


def test_every_type() -> None:
    assert one({"type": "dingding", "access_token": TOKEN}).secret == ""
    assert one({"type": "wechat_work", "key": "abc-def"}).url.endswith("/cgi-bin/webhook/send?key=abc-def")
    feishu = one({"type": "feishu", "token": TOKEN, "secret": SECRET})
    assert feishu.url == f"https://open.feishu.cn/open-apis/bot/v2/hook/{TOKEN}"
    lark = one({"type": "feishu", "webhook_url": "https://open.larksuite.com/open-apis/bot/v2/hook/x"})
    assert lark.url.startswith("https://open.larksuite.com/")
    telegram = one({"type": "telegram", "bot_token": "1:AAF-x_y", "chat_id": -100200300})
    assert (telegram.url, telegram.chat_id) == (
        "https://api.telegram.org/bot1:AAF-x_y/sendMessage",
        "-100200300",
    )
    assert one({"type": "telegram", "bot_token": "1:A", "chat_id": "@name"}).chat_id == "@name"
    hook = one({"type": "webhook", "url": "https://h/x", "headers": {"Authorization": "Bearer abc"}})
    assert (hook.url, hook.headers) == ("https://h/x", {"Authorization": "Bearer abc"})


def test_base_urls_are_ones_own() -> None:
    for raw in (
        {"type": "dingding", "access_token": "a"},
        {"type": "wechat_work", "key": "a"},
        {"type": "feishu", "token": "a"},
        {"type": "telegram", "bot_token": "a", "chat_id": 1},
    ):
        assert one(raw | {"base_url": "https://my.proxy:8443/im/"}).url.startswith(
            "https://my.proxy:8443/im/"
        )


def test_the_proxy_is_the_configs_unless_a_channel_says_otherwise() -> None:
    raw = {"type": "webhook", "url": "https://h/x"}
    assert one(raw, "socks5://p:1").proxy == "socks5://p:1"
    assert one(raw | {"proxy": "direct"}, "socks5://p:1").proxy is None
    assert one(raw | {"proxy": "env"}, "socks5://p:1").proxy == "env"
    assert one(raw | {"proxy": "http://q:2"}, None).proxy == "http://q:2"
    assert "proxy" in str(wrong(raw | {"proxy": "ftp://u:s3cret@q:2"}))


def test_kinds_may_be_chosen() -> None:
    raw = {"type": "webhook", "url": "https://h/x"}
    assert one(raw).kinds is None
    assert one(raw | {"kinds": ["ban", "died"]}).kinds == ("ban", "died")
    assert "nearest: listing" in wrong(raw | {"kinds": ["listings"]})["alerts[0].kinds"]
    assert "must be a list" in wrong(raw | {"kinds": "ban"})["alerts[0].kinds"]
    assert set(KINDS.values()) == {"info", "error"}


@pytest.mark.parametrize(
    ("raw", "key"),
    [
        ({}, "type"),
        ({"type": "fieshu", "token": "s3cretpass"}, "type"),
        ({"type": ["feishu"]}, "type"),
        ({"type": "feishu"}, ""),
        ({"type": "feishu", "token": "s3cret pass"}, "token"),
        ({"type": "feishu", "token": "s3cretpass", "base_url": "open.feishu.cn"}, "base_url"),
        ({"type": "feishu", "token": "s3cretpass", "secret": 5}, "secret"),
        ({"type": "telegram", "bot_token": "s3cretpass"}, "chat_id"),
        ({"type": "telegram", "chat_id": 1}, "bot_token"),
        ({"type": "telegram", "bot_token": "s3cretpass/../x", "chat_id": 1}, "bot_token"),
        ({"type": "telegram", "bot_token": "s3cretpass", "chat_id": "s3cret chat"}, "chat_id"),
        ({"type": "webhook"}, "url"),
        ({"type": "webhook", "url": "file:///s3cretpass"}, "url"),
        ({"type": "webhook", "url": "https://h:0/s3cretpass"}, "url"),
        ({"type": "webhook", "url": "https://h/ s3cretpass"}, "url"),
        ({"type": "webhook", "url": "https://h/x", "headers": {"A b": "s3cretpass"}}, "headers"),
        ({"type": "webhook", "url": "https://h/x", "headers": {"A": "s3cret\r\npass"}}, "headers"),
        ({"type": "webhook", "url": "https://h/x", "headers": ["s3cretpass"]}, "headers"),
        ({"type": "apprise", "urls": []}, "urls"),
        ({"type": "apprise", "urls": ["s3cretpass"]}, "urls"),
    ],
)
def test_what_is_wrong_is_named_and_not_shown(raw: dict[str, Any], key: str) -> None:
    found = wrong(raw)
    assert f"alerts[0].{key}" if key else "alerts[0]" in found
    assert (f"alerts[0].{key}" if key else "alerts[0]") in found, found
    assert "s3cret" not in str(found)


def test_a_misspelt_type_or_key_has_its_nearest() -> None:
    assert "nearest: feishu" in wrong({"type": "fieshu"})["alerts[0].type"]
    found = read_channels(None, None, [{"type": "feishu", "tokne": "x", "token": "y"}], None)
    assert dict(found.unknown) == {"alerts[0].'tokne'": "no such key; nearest: token"}
    assert len(found.channels) == 1


def test_http_beyond_this_machine_is_warned_about() -> None:
    def warned(url: str) -> bool:
        found = read_channels(None, None, [{"type": "webhook", "url": url}], None)
        assert len(found.channels) == 1
        return any("unencrypted" in text for _, text in found.warnings)

    assert warned("http://example.org/x")
    assert warned("http://10.0.0.7/x")
    assert not warned("http://127.0.0.1:8080/x")
    assert not warned("http://localhost/x")
    assert not warned("https://example.org/x")


def test_apprise_is_an_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    raw = {"type": "apprise", "urls": ["mailto://u:p@h"]}
    monkeypatch.setattr("bmac_stream.alerts.channels.find_spec", lambda name: None)
    assert "bmac-stream[alerts]" in wrong(raw)["alerts[0]"]
    monkeypatch.setattr("bmac_stream.alerts.channels.find_spec", lambda name: object())
    assert one(raw).urls == ("mailto://u:p@h",)


# ------------------------------------------------------------------------------------------------- secrets


def test_no_text_form_shows_a_secret() -> None:
    for channel in (
        one({"type": "dingding", **ROBOT}),
        one({"type": "webhook", "url": f"https://h/{TOKEN}", "headers": {"X": SECRET}}),
    ):
        for text in (repr(channel), str(channel), f"{channel}", repr([channel])):
            assert TOKEN not in text and SECRET not in text


@pytest.mark.parametrize(
    ("raw", "found"),
    [
        ({"error": ROBOT}, {TOKEN, SECRET}),
        ({"type": "wechat_work", "error": {"webhook_url": WECOM}}, {WECOM, "693axxx6"}),
        ({"type": "feishu", "webhook_url": f"https://h/hook/{TOKEN}"}, {TOKEN}),
        ({"type": "telegram", "bot_token": "1:abcdef", "chat_id": 5}, {"1:abcdef", "1%3Aabcdef"}),
        ({"type": "webhook", "url": "https://u:passpass@h/x?key=kkkkkkkk"}, {"passpass", "kkkkkkkk"}),
        ({"type": "webhook", "url": "https://h/x", "headers": {"A": "Bearer tttttt"}}, {"Bearer tttttt"}),
        ({"type": "webhook", "url": "https://h/x", "proxy": "http://u:passpass@p:1"}, {"passpass"}),
        ({"type": "apprise", "urls": ["mailto://u:passpass@h"]}, {"passpass", "mailto://u:passpass@h"}),
    ],
)
def test_what_a_log_must_hide(raw: dict[str, Any], found: set[str]) -> None:
    hidden = secrets_in(raw)
    assert found <= set(hidden)
    assert not {"dingding", "wechat_work", "feishu", "telegram", "webhook", "apprise", "send"} & set(hidden)


def test_what_is_no_secret_is_not_hidden() -> None:
    raw = {"type": "telegram", "base_url": "https://api.example.org", "kinds": ["listing", "delisting"]}
    assert secrets_in(raw) == []
    assert secrets_in(None) == []


def test_the_types_have_no_key_twice() -> None:
    assert all(len(set(keys)) == len(keys) for keys in TYPES.values())
