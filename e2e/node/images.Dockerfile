# Small images that pods of the node need besides single static programs; one target each.
ARG BASE
FROM ${BASE} AS packages
RUN apt-get update \
    && apt-get install --yes --no-install-recommends busybox-static conntrack iptables \
    && rm -rf /var/lib/apt/lists/* /var/cache/apt/*
COPY closure.sh /

FROM packages AS proxy-files
RUN sh /closure.sh /out /usr/sbin/xtables-nft-multi /usr/sbin/conntrack /usr/lib/*/xtables/*.so \
    && for name in iptables iptables-save iptables-restore ip6tables ip6tables-save ip6tables-restore; do \
         ln -s xtables-nft-multi /out/usr/sbin/$name; done

FROM scratch AS kube-proxy
COPY --from=proxy-files /out/ /
COPY kube-proxy /usr/local/bin/kube-proxy
ENV PATH=/usr/local/bin:/usr/sbin:/usr/bin

FROM scratch AS busybox
COPY --from=packages /usr/bin/busybox /bin/busybox
RUN ["/bin/busybox", "--install", "/bin"]
