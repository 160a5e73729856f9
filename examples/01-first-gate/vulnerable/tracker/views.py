"""The pages."""

from django.http import HttpResponse, JsonResponse

from tracker import labels, store


def status(request, number):
    """Where the parcel is, as JSON."""
    parcel = store.find(number)
    if parcel is None:
        return JsonResponse({"error": "no such parcel"}, status=404)
    return JsonResponse(dict(zip(("number", "status", "town"), parcel)))


def label(request, number):
    """The label, ready to print."""
    return HttpResponse(labels.label({"number": number, "town": request.GET["town"]}))


def again(request):
    """The parcel that this visitor looked at last."""
    return JsonResponse(store.restore(request.COOKIES["last"].encode("latin-1")))
