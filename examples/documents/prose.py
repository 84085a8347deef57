"""Sentences for letters, contracts and small print. `{day}`, `{past}` and `{sum}` are distractors."""

LETTERS: dict[str, list[tuple[str, str]]] = {
    "en": [
        ("Water meter reading", "We will read your meter on {day}. Nobody needs to be at home."),
        ("Change of opening hours", "From {day} our office opens at nine. Appointments can be made by telephone."),
        ("Your enquiry", "Thank you for your message of {past}. We are looking into it and will write again."),
        ("Parents' evening", "We invite you to the parents' evening on {day} at 7 pm in the main hall."),
        ("Works in your street", "Works start on {day}. A fee of up to {sum} paid for towing is not refunded."),
        ("Change of address", "We have noted your new address as of {past}. You need do nothing else."),
        ("Your complaint", "We regret the trouble. Goods worth {sum} are being checked by our workshop."),
        ("Reminder of your appointment", "Your appointment is on {day}. Please bring your insurance card."),
    ],
    "de": [
        ("Ablesung Ihres Zählers", "Am {day} lesen wir Ihren Zähler ab. Niemand muss zu Hause sein."),
        ("Neue Öffnungszeiten", "Ab {day} öffnet unser Büro um neun Uhr. Termine gibt es telefonisch."),
        ("Ihre Anfrage", "Danke für Ihre Nachricht vom {past}. Wir prüfen das und melden uns wieder."),
        ("Elternabend", "Wir laden Sie zum Elternabend am {day} um 19 Uhr in die Aula ein."),
        ("Bauarbeiten in Ihrer Straße", "Die Arbeiten beginnen am {day}. Abschleppkosten bis {sum} tragen Sie selbst."),
        ("Änderung der Anschrift", "Ihre neue Anschrift gilt bei uns seit {past}. Sie müssen nichts weiter tun."),
        ("Ihre Beschwerde", "Wir bedauern den Ärger. Ware im Wert von {sum} wird in der Werkstatt geprüft."),
        ("Ihr Termin", "Ihr Termin ist am {day}. Bringen Sie bitte die Versichertenkarte mit."),
    ],
    "fr": [
        ("Relevé de votre compteur", "Nous relèverons votre compteur le {day}. Votre présence n'est pas nécessaire."),
        (
            "Nouveaux horaires",
            "À partir du {day}, nos bureaux ouvrent à neuf heures. Prenez rendez-vous par téléphone.",
        ),
        ("Votre demande", "Merci pour votre message du {past}. Nous l'étudions et vous répondrons bientôt."),
        ("Réunion de parents", "Nous vous invitons à la réunion du {day} à 19 h dans la grande salle."),
        (
            "Travaux dans votre rue",
            "Travaux dès le {day}. L'enlèvement, jusqu'à {sum}, reste à votre charge.",
        ),
        ("Changement d'adresse", "Votre nouvelle adresse est enregistrée depuis le {past}. Rien d'autre à faire."),
        ("Votre réclamation", "Nous regrettons ce souci. Des articles d'une valeur de {sum} sont à l'atelier."),
        ("Votre rendez-vous", "Votre rendez-vous est le {day}. Apportez votre carte d'assuré."),
    ],
}
GREETINGS = {"en": "Dear {},", "de": "Guten Tag {},", "fr": "Bonjour {},"}
CLOSINGS = {
    "en": ["Yours sincerely", "Kind regards"],
    "de": ["Mit freundlichen Grüßen", "Freundliche Grüße"],
    "fr": ["Cordialement", "Veuillez agréer nos salutations"],
}
BETWEEN = {
    "en": "between {a} (provider) and {b} (customer)",
    "de": "zwischen {a} (Anbieter) und {b} (Kunde)",
    "fr": "entre {a} (prestataire) et {b} (client)",
}
THANKS = {
    "en": ["Thank you for your purchase", "Thank you, come again"],
    "de": ["Vielen Dank für Ihren Einkauf", "Danke, bis bald"],
    "fr": ["Merci de votre visite", "Merci et à bientôt"],
}
SUBJECTS = {
    "en": [
        "garden care",
        "internet access 100 Mbit/s",
        "boiler maintenance",
        "music lessons",
        "cleaning of the stairs",
    ],
    "de": ["Gartenpflege", "Internetanschluss 100 Mbit/s", "Heizungswartung", "Musikunterricht", "Treppenreinigung"],
    "fr": ["entretien du jardin", "accès internet 100 Mbit/s", "entretien de chaudière", "cours de musique", "ménage"],
}
POLICIES = {
    "en": ["household contents", "personal liability", "bicycle", "legal protection"],
    "de": ["Hausrat", "Privathaftpflicht", "Fahrrad", "Rechtsschutz"],
    "fr": ["habitation", "responsabilité civile", "vélo", "protection juridique"],
}
SMALL_PRINT = {
    "en": [
        "Goods remain our property until they are paid for in full.",
        "Objections must reach us in writing within six weeks of receipt.",
        "Notice may be given three months before the end of the term, in writing.",
        "We store your data only as long as the law requires it.",
        "Place of performance and jurisdiction is the registered office of the provider.",
        "Prices are subject to change; the price list valid on the day of the order applies.",
        "Should one clause be void, the others remain in force.",
        "Returns are accepted within fourteen days in the original packaging.",
    ],
    "de": [
        "Die Ware bleibt bis zur vollständigen Bezahlung unser Eigentum.",
        "Einwendungen sind binnen sechs Wochen nach Zugang schriftlich zu erheben.",
        "Die Kündigung ist schriftlich mit einer Frist von drei Monaten möglich.",
        "Wir speichern Ihre Daten nur, solange das Gesetz es verlangt.",
        "Erfüllungsort und Gerichtsstand ist der Sitz des Anbieters.",
        "Es gilt die am Tag der Bestellung gültige Preisliste.",
        "Ist eine Klausel unwirksam, bleiben die übrigen gültig.",
        "Rückgabe innerhalb von vierzehn Tagen in der Originalverpackung.",
    ],
    "fr": [
        "Les marchandises restent notre propriété jusqu'au paiement complet.",
        "Toute réclamation doit nous parvenir par écrit sous six semaines.",
        "La résiliation se fait par écrit avec un préavis de trois mois.",
        "Vos données ne sont conservées que le temps exigé par la loi.",
        "Le tribunal compétent est celui du siège du prestataire.",
        "Le tarif en vigueur au jour de la commande s'applique.",
        "La nullité d'une clause n'affecte pas les autres.",
        "Retours acceptés sous quatorze jours dans l'emballage d'origine.",
    ],
}
