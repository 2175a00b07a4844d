//! Photos that are built into the program, so that the first screen shows a real result before anyone has opened a file.
//!
//! Where each photo comes from, and under which licence, is told in `assets/samples/README.md`; the same is shown beside
//! the photo.

/// A photo that is built into the program.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Short lower-case name: the file is `assets/samples/ID.jpg`.
    pub id: &'static str,
    /// What is to be seen, for people.
    pub title: &'static str,
    /// Who made the photo.
    pub credit: &'static str,
    /// The photo's licence: an SPDX identifier, or "Public domain".
    pub license: &'static str,
    /// The JPEG file.
    pub bytes: &'static [u8],
}

/// The photos in the order in which they are offered. The program opens with the first.
pub const SAMPLES: &[Sample] = &[
    Sample {
        id: "pagoda",
        title: "Pagoda above a lake, China",
        credit: "danielbuechele",
        license: "CC-BY-2.0",
        bytes: include_bytes!("../../assets/samples/pagoda.jpg"),
    },
    Sample {
        id: "cat",
        title: "Chelsea the cat",
        credit: "Stefan van der Walt",
        license: "CC0-1.0",
        bytes: include_bytes!("../../assets/samples/cat.jpg"),
    },
    Sample {
        id: "espresso",
        title: "Espresso in a red cup",
        credit: "Rachel Michetti, courtesy of Pikolo Espresso Bar",
        license: "CC0-1.0",
        bytes: include_bytes!("../../assets/samples/espresso.jpg"),
    },
    Sample {
        id: "bee",
        title: "Honey bee on an aster",
        credit: "John Severns",
        license: "Public domain",
        bytes: include_bytes!("../../assets/samples/bee.jpg"),
    },
    Sample {
        id: "dogs",
        title: "Two spaniels at a door",
        credit: "Aitzol Berasategi",
        license: "CC-BY-4.0",
        bytes: include_bytes!("../../assets/samples/dogs.jpg"),
    },
    Sample {
        id: "bridge",
        title: "Roebling Suspension Bridge, Cincinnati",
        credit: "Derek Jensen",
        license: "Public domain",
        bytes: include_bytes!("../../assets/samples/bridge.jpg"),
    },
    Sample {
        id: "citrus",
        title: "Citrus fruits, sliced",
        credit: "US Department of Agriculture",
        license: "Public domain",
        bytes: include_bytes!("../../assets/samples/citrus.jpg"),
    },
    Sample {
        id: "rocket",
        title: "Falcon 9 with DSCOVR before its launch",
        credit: "SpaceX",
        license: "Public domain",
        bytes: include_bytes!("../../assets/samples/rocket.jpg"),
    },
];
