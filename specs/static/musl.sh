# Static musl builds: sourced by the %build sections of ipvsadm.spec and
# keepalived.spec, and by the tools step for busybox. It needs a POSIX shell,
# musl-gcc, the kernel's headers, make, ar and (for openssl) perl.
#
# All that depends on where the build runs stays inside the two programs that
# static_toolchain writes. Configure scripts record their arguments in what they
# build, so a path there would make two builds of the same source differ.

STATIC_CFLAGS='-O2 -pipe -fstack-protector-strong -fno-pie -fdata-sections -ffunction-sections'
STATIC_LDFLAGS='-static -no-pie -Wl,--gc-sections -Wl,--build-id=none -Wl,-z,relro -Wl,-z,now -s'

# static_toolchain TOP: makes TOP/bin/static-cc and TOP/bin/pkg-config, and puts
# them first in PATH. They look for headers and libraries in TOP/include and
# TOP/lib, and nowhere of the system's but musl and the kernel's headers.
static_toolchain() {
  mkdir -p "$1/bin" "$1/include" "$1/lib/pkgconfig" "$1/kernel"
  STATIC_TOP=$(cd "$1" && pwd)
  static_kernel_headers
  # ccache, if the caller has it in PATH, sees the gcc that musl-gcc calls. The
  # prefix map keeps this build's folder out of __FILE__.
  cat > "$STATIC_TOP/bin/static-cc" <<EOF
#!/bin/sh
exec musl-gcc "\$@" -isystem $STATIC_TOP/include -idirafter $STATIC_TOP/kernel -L$STATIC_TOP/lib -ffile-prefix-map=$(dirname "$STATIC_TOP")=.
EOF
  cat > "$STATIC_TOP/bin/pkg-config" <<EOF
#!/bin/sh
PKG_CONFIG_PATH= PKG_CONFIG_LIBDIR=$STATIC_TOP/lib/pkgconfig exec $(command -v pkg-config || echo pkg-config) "\$@"
EOF
  chmod 755 "$STATIC_TOP/bin/static-cc" "$STATIC_TOP/bin/pkg-config"
  PATH=$STATIC_TOP/bin:$PATH
  CC=static-cc CFLAGS=$STATIC_CFLAGS LDFLAGS=$STATIC_LDFLAGS
  export PATH CC CFLAGS LDFLAGS
  unset PKG_CONFIG_PATH PKG_CONFIG_LIBDIR CXX CXXFLAGS CPPFLAGS FFLAGS FCFLAGS LT_SYS_LIBRARY_PATH || :
}

# musl has no kernel headers of its own. The system's are used, without the rest
# of /usr/include, which belongs to glibc. Debian keeps asm/ per architecture.
static_kernel_headers() {
  for folder in linux asm asm-generic mtd; do
    for parent in /usr/include "/usr/include/$(uname -m)-linux-gnu"; do
      [ -d "$parent/$folder" ] && ln -sfn "$parent/$folder" "$STATIC_TOP/kernel/$folder"
    done
  done
  [ -e "$STATIC_TOP/kernel/linux/ip_vs.h" ] && [ -e "$STATIC_TOP/kernel/asm/types.h" ] || {
    echo 'error: no kernel headers (kernel-headers, linux-libc-dev) in /usr/include' >&2
    return 1
  }
}

# static_unpack TARBALL FOLDER [PATCHES]: unpacks it whatever its top folder is
# called, and applies the patches in a .debian.tar, if there is one for it.
static_unpack() {
  mkdir -p "$2"
  tar --no-same-owner -xf "$1" -C "$2" --strip-components=1
  if [ -n "${3:-}" ]; then static_patch "$3" "$2"; fi
}

# static_patch PATCHES FOLDER: applies those of debian/patches/series in its order
# and as dpkg-source does, which takes all of them with -p1 whatever is said there.
static_patch() (
  set -e
  mkdir -p "$2.debian"
  tar --no-same-owner -xf "$1" -C "$2.debian"
  patches=$2.debian/debian/patches
  [ -e "$patches/series" ] || exit 0
  while read -r name rest || [ -n "$name" ]; do
    case $name in
      '' | '#'*) ;;
      *) patch -d "$2" -p1 -F0 -N -s < "$patches/$name" ;;
    esac
  done < "$patches/series"
  # All files are of one age: what was made of a patched one, such as configure, is not wanted again.
  find "$2" -type f -exec touch -r "$1" {} +
)

# static_archive LIBRARY NAME...: puts libNAME.a there. With several names each is
# a linker script that stands for all of them, so that their order on a linker
# command line, which keepalived gets wrong for static libraries, does not matter.
static_archive() {
  folder=$1
  shift
  for name; do
    if [ $# -eq 1 ]; then
      cp "$folder/lib$name.a" "$STATIC_TOP/lib/"
    else
      cp "$folder/lib$name.a" "$STATIC_TOP/lib/lib$name-members.a"
      echo "GROUP ($(for each; do printf ' lib%s-members.a' "$each"; done) )" > "$STATIC_TOP/lib/lib$name.a"
    fi
  done
}

# static_pc NAME VERSION LIBS [REQUIRES]: what pkg-config is to answer for NAME.
static_pc() {
  cat > "$STATIC_TOP/lib/pkgconfig/$1.pc" <<EOF
Name: $1
Description: static $1
Version: $2
Libs: $3
Requires: ${4:-}
EOF
}

# static_popt SOURCE
static_popt() (
  set -e
  cd "$1"
  ./configure --host=x86_64-linux-musl --disable-shared --enable-static --disable-nls --prefix=/usr
  make $STATIC_MAKE -C src libpopt.la
  cp src/popt.h "$STATIC_TOP/include/"
  static_archive src/.libs popt
)

# static_libnl SOURCE: the core and generic netlink, which is what IPVS needs.
static_libnl() (
  set -e
  cd "$1"
  ./configure --host=x86_64-linux-musl --disable-shared --enable-static --disable-cli --disable-debug \
    --disable-pthreads --prefix=/usr
  make $STATIC_MAKE lib/libnl-3.la lib/libnl-genl-3.la
  cp -R include/netlink "$STATIC_TOP/include/"
  static_archive lib/.libs nl-3 nl-genl-3
  version=$(sed -n "s/^PACKAGE_VERSION='\(.*\)'/\1/p" configure)
  static_pc libnl-3.0 "$version" -lnl-3
  static_pc libnl-genl-3.0 "$version" -lnl-genl-3 libnl-3.0
)

# static_openssl SOURCE: a TLS client (keepalived's SSL_GET, and digests), so
# without engines, providers of legacy ciphers, certificate tools and programs.
# openssldir is where RHEL and its relatives keep their certificates.
static_openssl() (
  set -e
  cd "$1"
  ./Configure linux-x86_64 --prefix=/usr --libdir=lib --openssldir=/etc/pki/tls \
    no-shared no-dso no-tests no-engine no-legacy no-async no-ui-console no-comp no-srp no-psk no-cms no-ts no-ct \
    no-ocsp no-cmp no-idea no-seed no-rc2 no-rc4 no-rc5 no-md4 no-mdc2 no-rmd160 no-whirlpool no-bf no-cast \
    no-camellia no-aria no-sm2 no-sm3 no-sm4 no-des no-dsa no-gost no-blake2 no-siphash no-ssl3 no-dtls no-sctp \
    no-ktls no-afalgeng no-capieng no-padlockeng no-rfc3779 no-nextprotoneg $STATIC_CFLAGS
  # Its log would be two thirds of rpmbuild's: only the compiler's complaints matter.
  make $STATIC_MAKE -s build_generated libcrypto.a libssl.a
  cp -R include/openssl "$STATIC_TOP/include/"
  static_archive . ssl crypto
  version=$(perl -ne '$v{$1} = $2 if /^(MAJOR|MINOR|PATCH)=(\d+)/; END { print "$v{MAJOR}.$v{MINOR}.$v{PATCH}" }' VERSION.dat)
  static_pc openssl "$version" '-lssl -lcrypto'
)
