"""What shops call our columns and events: exports of common shop systems and trackers.

Shopify, Magento (Adobe Commerce), WooCommerce, Google Merchant Center, Google Analytics 4 in
BigQuery, Snowplow, Segment, PrestaShop and Shopware; data sets of Amazon, MovieLens, RetailRocket,
REES46, H&M, Diginetica, OTTO, YooChoose and UCI Online Retail; German, French and Spanish words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from vitrina.lake.contract import Table

ITEM_ID: Final = (
    "item_id product_id sku variant_sku article_id asin parent_asin movie_id aid lineitem_sku "
    "ti_sku stock_code product_code article_number article_no item_no item_number product_no "
    "product_number listing_id offer_id goods_id content_id content_ids product_sku item_sku "
    "variant_id artikelnummer artikel_nr artikel_id artikelnr produktnummer produkt_id "
    "id_product id_produit reference_produit id_producto codigo_producto product_ref book_id "
    "isbn track_id goods_no"
)

STRONG: Final[Mapping[Table, Mapping[str, str]]] = {
    "items": {
        "item_id": ITEM_ID,
        "title": "title name product_name item_name product_title prod_name item_title "
        "post_title label bezeichnung artikelbezeichnung produktname titel nom titre "
        "nom_produit nombre titulo product_display_name movie_title",
        "description": "description body_html body product_description item_description "
        "detail_desc long_description short_description post_content beschreibung "
        "descripcion details features summary overview",
        "category_path": "category_path category categories product_category category_name "
        "category_code product_type google_product_category main_category item_category genres "
        "genre kategorie kategorien categorie rubrique warengruppe categoria product_group "
        "department taxonomy category_id categoryid breadcrumb breadcrumbs tax_product_cat",
        "price": "price variant_price unit_price sale_price regular_price item_price "
        "product_price list_price lineitem_price ti_price final_price price_amount preis "
        "verkaufspreis einzelpreis prix precio price_cents price_in_cents",
        "currency": "currency currency_code price_currency waehrung devise moneda",
        "brand": "brand vendor manufacturer brand_name item_brand product_brand store maker "
        "author marke hersteller marque fabricant marca",
        "location": "location city region country place seller_location standort ort lieu ciudad",
        "condition": "condition item_condition zustand etat estado",
        "image_url": "image_url image image_link image_src img_url img picture thumbnail "
        "base_image images im_url image_urlhigh_res photo photo_url bild bild_url image_path",
        "available": "available availability in_stock is_in_stock stock stock_status "
        "inventory variant_inventory_qty quantity qty stock_quantity status is_active active "
        "published bestand lagerbestand verfuegbar verfugbar lieferbar disponible",
        "created_at": "created_at date_created created first_available_date published_at "
        "created_date release_date date_added added_at listed_at erstellt_am date_ajout",
        "attributes": "attributes properties specs specifications additional_attributes",
    },
    "events": {
        "event_id": "event_id message_id event_uuid eventid insert_id",
        "user_id": "user_id customer_id visitor_id client_id user_pseudo_id domain_userid "
        "anonymous_id customer_email email reviewer_id buyer_id member_id account_id shopper_id "
        "fullvisitor_id fullvisitorid network_userid household_id person_id uid cust_id "
        "customer_no customer_number kundennummer kunden_nr kunde_id kunden_id kundennr "
        "id_client id_customer id_cliente user_name username customer visitor user_key",
        "session_id": "session_id user_session session domain_sessionid visit_id sessionid "
        "ga_session_id basket_id order_id invoice_no invoice cart_id transaction_id "
        "sitzung bestellnummer",
        "item_id": ITEM_ID,
        "event_type": "event_type event event_name action action_type behavior behavior_type "
        "type activity interaction ereignis aktion se_action evenement accion evento kind",
        "timestamp": "timestamp event_timestamp event_time time datetime ts created_at date "
        "occurred_at server_time collector_tstamp derived_tstamp dvce_created_tstamp sent_at "
        "received_at original_timestamp unix_review_time review_time t_dat invoice_date "
        "order_date purchase_date purchased_at ordered_at event_date visit_time click_time "
        "zeit zeitpunkt datum zeitstempel wann bestelldatum date_heure horodatage fecha hora "
        "date_created processed_at completed_at time_stamp event_at at day when",
        "device_type": "device_type device device_category platform geraet appareil",
        "value": "value revenue amount price total item_price unit_price sales_value "
        "lineitem_price ti_price rating overall event_value betrag umsatz preis montant importe",
        "request_id": "request_id recommendation_id",
        "position": "position rank slot item_list_index",
    },
}
"""Names that mean the column wherever they stand, the better ones first."""

WEAK: Final[Mapping[Table, Mapping[str, str]]] = {
    "items": {
        "item_id": "id code item product article artikel produkt nr number key handle movie book "
        "ean gtin upc mpn model listing offer ad reference ref",
        "title": "product item article artikel",
        "category_path": "type group section class collection tags index_group_name",
        "price": "cost amount value betrag",
        "brand": "artist publisher label seller",
        "image_url": "photos pictures media",
        "created_at": "date year timestamp time",
        "description": "text content desc",
    },
    "events": {
        "user_id": "user customer client visitor buyer shopper member reviewer kunde benutzer "
        "cliente utilisateur usuario person household id_user wer who",
        "session_id": "visit basket cart order transaction besuch",
        "item_id": "item product article movie content listing offer artikel produkt produit "
        "producto code book ad reference ref asin_id handle",
        "event_type": "what was status name",
        "timestamp": "moment created updated_at year hour logged",
    },
}
"""Names that may mean the column, if its values agree."""

EVENT_WORDS: Final[Mapping[str, str]] = {
    "view": "view pageview page_view view_item item_view product_view product_viewed viewed "
    "detail detail_view details product_detail screen_view pdp visit impression_detail "
    "ansicht aufruf angesehen vue consultation vista visto pv browse read play watched seen "
    "looked looked_at",
    "click": "click clicks clicked select_item product_clicked item_click select_content tap "
    "select_promotion klick clic open opened",
    "add_to_favorites": "add_to_favorites favorite favourite favorites add_to_wishlist wishlist "
    "like liked save saved bookmark fav product_added_to_wishlist merkzettel favori favorito "
    "gemerkt collect pin follow",
    "add_to_cart": "add_to_cart addtocart cart carts basket add_to_basket product_added added "
    "atc add_cart warenkorb in_den_warenkorb panier ajout_panier carrito add begin_checkout "
    "checkout checkout_started cart_add put_in_basket put_in_cart",
    "contact_seller": "contact_seller contact generate_lead lead message inquiry enquiry call "
    "reply contacted kontakt anfrage",
    "purchase": "purchase purchased transaction order ordered orders order_completed buy bought "
    "sale sold checkout_completed conversion paid order_placed kauf gekauft bestellung bestellt "
    "achat commande compra pedido in_app_purchase placed_order",
    "dismiss": "dismiss dismissed hide hidden not_interested dislike block report",
}
"""Our event types and what others call them."""

FILE_WORDS: Final[Mapping[str, str]] = {
    "purchase": "order orders purchase purchases transaction transactions sales sale buys buy "
    "bought bestellungen kaeufe lineitems invoices receipts baskets reviews review ratings rating",
    "add_to_cart": "cart carts basket addtocart warenkorb",
    "add_to_favorites": "favorites favourites wishlist likes bookmarks merkzettel",
    "click": "click clicks klicks",
    "view": "view views pageviews visits impressions events browsing",
}
"""Words in a file's name and the event type that its rows are of, if no column says so."""

UMLAUTS: Final = {"ä": "ae", "ö": "oe", "ü": "ue", "ß": "ss", "é": "e", "è": "e", "ó": "o"}

CATALOG_WORDS: Final = (
    "items item products product catalog catalogue articles artikel produkte katalog movies books "
    "meta inventory listings goods sortiment produits productos"
)


def words_of(name: str) -> str:
    """A name as words: `Variant SKU`, `variantSku` and `variant-sku` are all `variant_sku`."""
    spaced = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name.strip())
    spelled = spaced.lower()
    for letter, ascii_letters in UMLAUTS.items():
        spelled = spelled.replace(letter, ascii_letters)
    return re.sub(r"[^a-z0-9]+", "_", spelled).strip("_")


def name_score(table: Table, ours: str, theirs: str) -> float:
    """How much a name says that it is our column: 1 for certain, 0 for nothing.

    Of a nested name (`properties.product_id`) the last part counts too, a little less.
    """
    whole = _score(table, ours, words_of(theirs))
    last = _score(table, ours, words_of(theirs.rpartition(".")[2])) if "." in theirs else 0.0
    return max(whole, last - 0.05)


def _score(table: Table, ours: str, words: str) -> float:
    joined = words.replace("_", "")
    for place, name in enumerate(STRONG[table].get(ours, "").split()):
        if name == words or name.replace("_", "") == joined:
            return 1.0 - min(place, 40) * 0.005
    for place, name in enumerate(WEAK[table].get(ours, "").split()):
        if name == words:
            return 0.5 - min(place, 20) * 0.005
    # `asking_price`: a word of ours among others.
    return 0.3 if set(words.split("_")) & set(STRONG[table].get(ours, "").split()) else 0.0


def event_type_of(theirs: str) -> str | None:
    """Our event type for theirs, None if it is no word for any."""
    words = words_of(theirs)
    return _OURS.get(words) or _OURS.get(words.replace("_", ""))


def event_type_of_file(name: str) -> str | None:
    """The event type that a file's name speaks of (`orders_2024.csv`: purchase)."""
    words = set(words_of(name).split("_"))
    for ours, spoken in FILE_WORDS.items():
        if words & set(spoken.split()):
            return ours
    return None


def is_catalog_name(name: str) -> bool:
    """Whether a file's name speaks of items."""
    return not set(CATALOG_WORDS.split()).isdisjoint(words_of(name).split("_"))


_OURS: Final = {
    spelled: ours
    for ours, spoken in EVENT_WORDS.items()
    for word in spoken.split()
    for spelled in (word, word.replace("_", ""))
}
