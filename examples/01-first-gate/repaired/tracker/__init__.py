"""Parcel tracker: where is my parcel?"""
