//! What an interface's driver can do in XDP, as the kernel tells by generic netlink from 6.3 on.
//!
//! Two questions without lists, so written by hand: a crate would bring a second netlink stack.
//! Source: include/uapi/linux/netdev.h and genetlink.h.

use std::os::fd::{AsRawFd, OwnedFd};

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};

use super::facts::XdpFeatures;

/// `GENL_ID_CTRL`: the family that knows the others.
const CONTROL: u16 = 0x10;
/// `CTRL_CMD_GETFAMILY`.
const GET_FAMILY: u8 = 3;
/// `CTRL_ATTR_FAMILY_NAME` and `CTRL_ATTR_FAMILY_ID`.
const FAMILY_NAME: u16 = 2;
const FAMILY_ID: u16 = 1;
/// `NETDEV_CMD_DEV_GET`.
const GET_DEVICE: u8 = 1;
/// `NETDEV_A_DEV_IFINDEX` and `NETDEV_A_DEV_XDP_FEATURES`.
const INDEX: u16 = 1;
const FEATURES: u16 = 3;

/// `NLM_F_REQUEST`.
const REQUEST: u16 = 1;
/// `NLMSG_MIN_TYPE`: what is below is no answer.
const ANSWERS_FROM: u16 = 0x10;
/// Bytes of the two headers of a message.
const HEADERS_BYTES: usize = 16 + 4;
/// Bytes of an answer: some hundred; that about a family lists its operations.
const ANSWER_BYTES_MAX: usize = 16 << 10;

/// What the driver of an interface can do; `None`: the kernel does not say.
pub(super) fn xdp_features(index: u32) -> Option<XdpFeatures> {
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkGeneric,
    )
    .ok()?;
    let family = ask(&socket, CONTROL, GET_FAMILY, FAMILY_NAME, b"netdev\0", FAMILY_ID)?;
    let family = u16::from_ne_bytes(family.get(..2)?.try_into().ok()?);
    let features = ask(&socket, family, GET_DEVICE, INDEX, &index.to_ne_bytes(), FEATURES)?;
    let bits = u64::from_ne_bytes(features.get(..8)?.try_into().ok()?);
    Some(XdpFeatures(bits))
}

/// Asks with one attribute; the value of another one in the answer.
fn ask(
    socket: &OwnedFd,
    family: u16,
    command: u8,
    attribute: u16,
    value: &[u8],
    wanted: u16,
) -> Option<Vec<u8>> {
    let attribute_bytes = 4 + value.len();
    let bytes = HEADERS_BYTES + attribute_bytes.next_multiple_of(4);
    let mut message = Vec::with_capacity(bytes);
    message.extend((bytes as u32).to_ne_bytes());
    message.extend(family.to_ne_bytes());
    message.extend(REQUEST.to_ne_bytes());
    // Sequence and port: there is one question at a time, and the kernel knows who asks. Then command and version.
    message.extend([0; 8]);
    message.extend([command, 1, 0, 0]);
    message.extend((attribute_bytes as u16).to_ne_bytes());
    message.extend(attribute.to_ne_bytes());
    message.extend(value);
    message.resize(bytes, 0);
    send(socket.as_raw_fd(), &message, MsgFlags::empty()).ok()?;
    let mut answer = vec![0; ANSWER_BYTES_MAX];
    let length = recv(socket.as_raw_fd(), &mut answer, MsgFlags::empty()).ok()?;
    value_in(answer.get(..length)?, wanted)
}

/// The value of an attribute in an answer.
fn value_in(answer: &[u8], wanted: u16) -> Option<Vec<u8>> {
    let word = |at: usize| Some(u16::from_ne_bytes(answer.get(at..at + 2)?.try_into().ok()?));
    if word(4)? < ANSWERS_FROM {
        return None;
    }
    let mut at = HEADERS_BYTES;
    loop {
        let bytes = usize::from(word(at)?);
        if bytes < 4 {
            return None;
        }
        if word(at + 2)? == wanted {
            return answer.get(at + 4..at + bytes).map(<[u8]>::to_vec);
        }
        at += bytes.next_multiple_of(4);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_that_are_cut_anywhere_are_none() {
        let mut answer = vec![0; HEADERS_BYTES];
        answer[4..6].copy_from_slice(&0x20_u16.to_ne_bytes());
        for (kind, value) in [(1_u16, 7_u64), (3, 0x7f)] {
            answer.extend(12_u16.to_ne_bytes());
            answer.extend(kind.to_ne_bytes());
            answer.extend(value.to_ne_bytes());
        }
        assert_eq!(value_in(&answer, 3), Some(0x7f_u64.to_ne_bytes().to_vec()));
        assert_eq!(value_in(&answer, 9), None);
        for length in 0..answer.len() {
            assert_eq!(value_in(&answer[..length], 3), None, "{length} bytes");
        }
        answer[HEADERS_BYTES] = 0;
        assert_eq!(value_in(&answer, 3), None, "an attribute without a length");
    }
}
