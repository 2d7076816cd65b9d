"""A control point of GUPnP that subscribes to an Internet gateway, prints what it is told, and ends when a port is open."""
import sys

import gi

gi.require_version("GUPnP", "1.6")
gi.require_version("GSSDP", "1.6")
from gi.repository import GLib, GObject, GSSDP, GUPnP

VARIABLES = {
    "WANIPConnection:1": ["ExternalIPAddress", "PortMappingNumberOfEntries", "ConnectionStatus"],
    "WANCommonInterfaceConfig:1": ["PhysicalLinkStatus"],
    "Layer3Forwarding:1": ["DefaultConnectionService"],
}
loop = GLib.MainLoop()
told = set()
proxies = {}


def notified(proxy, variable, value, name):
    print(name, variable, value, flush=True)
    told.add(name + variable)
    if len(told) == sum(map(len, VARIABLES.values())):
        print("told of everything", flush=True)
    if variable == "PortMappingNumberOfEntries" and str(value) == "1":
        loop.quit()


def found(point, proxy):
    name = proxy.get_service_type().rsplit("service:", 1)[1]
    if name not in VARIABLES or name in proxies:
        return
    proxies[name] = proxy
    for variable in VARIABLES[name]:
        proxy.add_notify(variable, GObject.TYPE_STRING, notified, name)
    proxy.set_subscribed(True)


def give_up():
    print("told only of", sorted(told), file=sys.stderr)
    loop.quit()


context = GUPnP.Context.new_full("eth0", None, 0, GSSDP.UDAVersion.VERSION_1_1)
points = []
for service in VARIABLES:
    point = GUPnP.ControlPoint.new(context, "urn:schemas-upnp-org:service:" + service)
    point.connect("service-proxy-available", found)
    point.set_active(True)
    points.append(point)
GLib.timeout_add_seconds(50, give_up)
loop.run()
