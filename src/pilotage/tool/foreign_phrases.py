"""The two commonest attacks, "ignore your instructions" and "do not tell the user", in languages
that models read well beside English. Gaps are bounded, so the time is linear in the text."""

from __future__ import annotations

from pilotage.domain.pattern import pattern
from pilotage.tool.phrases import Sign

_OVERRIDE = pattern(
    r"(?:忽略|无视|忘记|不要遵守|放弃|忽視|無視).{0,10}(?:之前|以前|先前|上述|所有|以上|系统).{0,10}(?:指令|指示|提示|规则|说明)"
    r"|(?:これまで|以前|前|上記|全て|すべて|今まで)の?.{0,6}(?:指示|命令|ルール|プロンプト).{0,6}(?:無視|忘れ|従わ)"
    r"|(?:이전|앞의|모든|지금까지).{0,6}(?:지시|명령|지침).{0,8}(?:무시|잊)"
    r"|\b(?:ignorier\w{0,4}|missachte\w{0,3}|vergiss|vergessen sie"
    r"|verwirf)\b.{0,40}(?:anweisung|regel|vorgabe|instruktion)"
    r"|\b(?:ignore[rz]?|oublie[rz]?|néglige[rz]?)\b.{0,20}(?:instructions|consignes"
    r"|règles) (?:précédentes|antérieures|ci-dessus)"
    r"|\b(?:ignora\w{0,4}|olvida\w{0,4}|desestima\w{0,4}|descarta\w{0,4})\b"
    r".{0,25}(?:instruccion|regla|indicacion|órden)\w{0,4}"
    r"|\b(?:ignora\w{0,3}|dimentica\w{0,3}|trascura\w{0,3})\b.{0,25}(?:istruzion|regol"
    r"|indicazion)\w{0,3}"
    r"|\b(?:ignore|ignora\w{0,3}|esqueça\w{0,2}|desconsidere\w{0,2})\b.{0,25}(?:instruç|regra"
    r"|orientaç)\w{0,5}"
    r"|(?:игнорируй|забудь|отбрось|не следуй)\w{0,4}.{0,40}(?:инструкци|указани|правил)"
    r"|تجاهل.{0,20}(?:التعليمات|الأوامر)"
)
_CONCEALMENT = pattern(
    r"(?:不要|别|请勿|无需|不得|切勿)(?:告诉|告知|通知|提及|提醒|让)"
    r"|ユーザー?(?:に|には).{0,12}(?:言わない|伝えない|知らせない|教えない|内緒|黙って|言うな)"
    r"|사용자에게.{0,10}(?:말하지|알리지)"
    r"|\b(?:sag\w{0,2}|erzähl\w{0,2}|informier\w{0,2}|erwähn\w{0,2}"
    r"|verrat\w{0,2})\b.{0,30}\b(?:nutzer|benutzer|anwender)\w{0,2}\b.{0,20}\bnicht"
    r"|\b(?:nutzer|benutzer|anwender)\w{0,2}\b.{0,30}\bnicht\w{0,2}\b.{0,15}(?:sagen|erzählen"
    r"|mitteilen|wissen|informieren|verraten)"
    r"|\bne (?:le |lui |l')?(?:dis|dites|dire|mentionne\w{0,2}|révèle\w{0,2}|informe\w{0,2}"
    r"|préviens)\b.{0,30}\b(?:pas|rien|jamais)\b"
    r"|\bno (?:se |lo |le |se lo )?(?:digas|diga|cuentes|menciones|informes|reveles|avises)\b"
    r"|\bnon (?:dir|menzionar|informar|rivelar)\w{0,3}\b|\bsenza (?:dir|informar|avvisar)\w{0,4}"
    r"|\bnão (?:conte|diga|mencione|informe|revele)\b"
    r"|не (?:говори|сообщай|рассказывай|упоминай|показывай)\w{0,3}.{0,20}пользовател"
    r"|لا تخبر المستخدم"
)
_SECRET = pattern(
    r"(?:发送|上传|传给|读取|包含).{0,12}(?:密码|密钥|私钥|令牌|凭证)|(?:密码|密钥|私钥|令牌|凭证).{0,8}(?:发送|上传|传给)"
    r"|(?:パスワード|秘密鍵|認証情報).{0,12}(?:送信|送って|渡し)"
    r"|\b(?:sende|schicke|übermittle|lies)\b.{0,30}(?:passwor|schlüssel|zugangsdaten)"
    r"|\b(?:envoie|envoyez|transmets)\b.{0,30}(?:mot de passe|clé|identifiants)"
    r"|\b(?:envía|manda|incluye)\b.{0,30}(?:contraseña|clave|credencial)"
    r"|\b(?:invia|manda|includi)\b.{0,30}(?:password|chiav|credenzial)"
    r"|\b(?:envie|mande|inclua)\b.{0,30}(?:senha|chave|credencia)"
    r"|(?:отправь|пошли|перешли|передай)\w{0,3}.{0,30}(?:парол|ключ|токен)"
)


def signs(text: str) -> list[Sign]:
    """What a text in lower case asks for in a language other than English."""
    found = []
    if _OVERRIDE.search(text):
        found.append(Sign("override", 10, "tells the model to drop its instructions"))
    if _CONCEALMENT.search(text):
        found.append(Sign("concealment", 9, "asks to keep something from the user"))
    if _SECRET.search(text):
        found.append(Sign("secret", 6, "asks for secrets"))
    return found
